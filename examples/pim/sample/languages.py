"""What people of the sample are called, and what they write, in twelve languages."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Language:
    """``given`` and ``family`` pair a name with its spelling in an address."""

    code: str
    charsets: tuple[str, ...]
    given: tuple[tuple[str, str], ...]
    family: tuple[tuple[str, str], ...]
    hello: str
    bye: str
    subjects: tuple[str, ...]
    sentences: tuple[str, ...]
    family_first: bool = False


def _pairs(names: str) -> tuple[tuple[str, str], ...]:
    """``"Jörg=joerg Ann"`` as pairs; a name in plain letters is its own spelling."""
    pairs = (name.partition("=") for name in names.split())
    return tuple((name, spelling or name.lower()) for name, _, spelling in pairs)


ENGLISH = Language(
    "en", ("us-ascii", "utf-8", "iso-8859-1"),
    _pairs("Bob Alice Carol Dave Erin Frank Grace Heidi Ivan Judy Mallory Oscar Peggy Trent"),
    _pairs("Baker Carter Fisher Gardner Hunter Mason Miller Potter Smith Tailor Turner Walker"),
    "Hello", "Best wishes",
    (
        "Minutes of Tuesday", "Garden fence", "Train on Friday", "The budget, third version",
        "Can you proofread this?", "Keys to the boat house", "Photos from the lake",
        "Invitation to the summer party", "Leaking tap", "Books to return",
    ),
    (
        "The train leaves at ten, so let us meet at the station a little earlier.",
        "I have put the figures of the third quarter into the table.",
        "Could you look at the second page before Thursday?",
        "The neighbours asked whether the fence could be repaired before the winter.",
        "Thank you for the photographs; the one with the heron is the best.",
        "There were eleven of us in the end, and nobody had brought a corkscrew.",
        "Please do not forget the keys this time.",
        "I would rather wait until the parts have arrived.",
        "From what I hear the library is closed until the end of the month.",
        "If it rains we shall simply sit in the kitchen.",
    ),
)  # fmt: skip

GERMAN = Language(
    "de", ("iso-8859-1", "utf-8", "windows-1252", "iso-8859-15"),
    _pairs("Jörg=joerg Käthe=kaethe Björn=bjoern Ursula Günther=guenther Heike Sören=soeren Ute"),
    _pairs("Müller=mueller Weiß=weiss Schäfer=schaefer Krüger=krueger Vogt Lindner Böhm=boehm"),
    "Hallo", "Viele Grüße",
    (
        "Rückfrage zur Abrechnung", "Grillen am Samstag", "Schlüsselübergabe",
        "Protokoll der Sitzung", "Fahrräder für den Ausflug", "Öffnungszeiten über Ostern",
        "Neue Türklingel",
    ),
    (
        "Der Zug fährt um zehn, wir treffen uns also besser schon um halb.",
        "Könntest du bitte die zweite Seite noch einmal prüfen?",
        "Die Rechnung über 1.250,00 € liegt bei, Skonto ist schon abgezogen.",
        "Für das Grillfest fehlen uns noch Brötchen und Kohle.",
        "Am Dienstag kommt der Klempner, jemand müsste ihm öffnen.",
        "Schöne Grüße auch von den Großeltern aus Görlitz.",
        "Das Straßenfest wurde wegen des Sturms verschoben.",
        "Ich hätte da noch eine Idee für den Garten hinterm Haus.",
    ),
)  # fmt: skip

FRENCH = Language(
    "fr", ("iso-8859-1", "utf-8", "iso-8859-15"),
    _pairs("Zoé=zoe Hélène=helene François=francois Loïc=loic Maëlle=maelle Anaïs=anais"),
    _pairs("Lefèvre=lefevre Dupré=dupre Moreau Garçon=garcon Bélanger=belanger Noël=noel"),
    "Bonjour", "À bientôt",
    (
        "Réunion déplacée à jeudi", "Photos de l'été", "Le dîner de vendredi",
        "Clés du garage", "Épreuves à relire", "Où est passé le chat ?",
    ),
    (
        "Le train part à dix heures, retrouvons-nous un peu avant sur le quai.",
        "Peux-tu relire la deuxième page avant jeudi ?",
        "La voisine a gardé le chat pendant toute la semaine.",
        "Il reste du gâteau, mais plus de café.",
        "Nous étions onze, et personne n'avait de tire-bouchon.",
        "Merci pour les photos, celle du héron est très réussie.",
        "Les pièces ne sont pas encore arrivées, il faut patienter.",
    ),
)  # fmt: skip

SPANISH = Language(
    "es", ("iso-8859-1", "utf-8", "windows-1252"),
    _pairs("Íñigo=inigo Lucía=lucia Andrés=andres Begoña=begona José=jose Marta"),
    _pairs("Ibáñez=ibanez Núñez=nunez Peña=pena Castro Muñoz=munoz"),
    "Hola", "Un abrazo",
    (
        "¿Vienes el sábado?", "Acta de la reunión", "Fotos del viaje", "La receta de mi abuela",
        "Año nuevo en la montaña",
    ),
    (
        "El tren sale a las diez, así que quedamos un poco antes en la estación.",
        "¿Puedes mirar la segunda página antes del jueves?",
        "La reunión de mañana empieza media hora más tarde.",
        "Te mando la receta de la abuela, pero no se la enseñes a nadie.",
        "Al final fuimos once y nadie había traído sacacorchos.",
        "El año que viene volvemos a la montaña con los niños.",
    ),
)  # fmt: skip

POLISH = Language(
    "pl", ("iso-8859-2", "utf-8", "windows-1250"),
    _pairs("Łukasz=lukasz Małgorzata=malgorzata Paweł=pawel Zofia Jagoda"),
    _pairs("Wójcik=wojcik Dąbrowska=dabrowska Kowalczyk Żak=zak Łęcki=lecki"),
    "Cześć", "Pozdrawiam",
    ("Zdjęcia z wycieczki", "Spotkanie w środę", "Klucze do piwnicy", "Książki do oddania"),
    (
        "Pociąg odjeżdża o dziesiątej, spotkajmy się trochę wcześniej.",
        "Czy możesz przejrzeć drugą stronę do czwartku?",
        "Dziękuję za zdjęcia, to z czaplą jest najlepsze.",
        "Sąsiedzi pytali, czy naprawimy płot przed zimą.",
        "W końcu było nas jedenaście osób.",
    ),
)  # fmt: skip

TURKISH = Language(
    "tr", ("iso-8859-9", "utf-8", "windows-1254"),
    _pairs("Ayşe=ayse Çağla=cagla İsmail=ismail Gökhan=gokhan"),
    _pairs("Yıldız=yildiz Öztürk=ozturk Şahin=sahin Güneş=gunes"),
    "Merhaba", "Sevgiler",
    ("Cuma günkü tren", "Toplantı notları", "Göl kenarından fotoğraflar", "Bahçe çiti"),
    (
        "Tren saat onda kalkıyor, biraz erken buluşalım.",
        "İkinci sayfaya perşembeden önce bakabilir misin?",
        "Fotoğraflar için teşekkürler, balıkçıllı olan çok güzel.",
        "Komşular çitin kıştan önce onarılıp onarılmayacağını sordu.",
    ),
)  # fmt: skip

RUSSIAN = Language(
    "ru", ("koi8-r", "windows-1251", "utf-8", "iso-8859-5"),
    _pairs("Наталья=natalya Сергей=sergey Ольга=olga Фёдор=fyodor Юлия=yulia"),
    _pairs("Петрова=petrova Соколов=sokolov Жукова=zhukova Щукин=shchukin"),
    "Здравствуйте", "С уважением",
    ("Фотографии с озера", "Поезд в пятницу", "Протокол собрания", "Ключи от дачи", "Смета"),
    (
        "Поезд отходит в десять, давайте встретимся немного раньше.",
        "Посмотрите, пожалуйста, вторую страницу до четверга.",
        "Спасибо за фотографии, лучше всех вышла цапля.",
        "Соседи спрашивают, починим ли мы забор до зимы.",
        "В конце концов нас было одиннадцать, и никто не взял штопор.",
        "Библиотека закрыта до конца месяца.",
    ),
)  # fmt: skip

GREEK = Language(
    "el", ("iso-8859-7", "utf-8", "windows-1253"),
    _pairs("Ελένη=eleni Γιώργος=giorgos Δήμητρα=dimitra Νίκος=nikos"),
    _pairs("Παππά=pappa Αλεξίου=alexiou Μακρής=makris"),
    "Γεια σου", "Φιλικά",
    ("Φωτογραφίες από τη λίμνη", "Το τρένο της Παρασκευής", "Πρακτικά της Τρίτης"),
    (
        "Το τρένο φεύγει στις δέκα, ας βρεθούμε λίγο νωρίτερα.",
        "Μπορείς να δεις τη δεύτερη σελίδα πριν από την Πέμπτη;",
        "Ευχαριστώ για τις φωτογραφίες, του ερωδιού είναι η καλύτερη.",
        "Η βιβλιοθήκη είναι κλειστή ως το τέλος του μήνα.",
    ),
)  # fmt: skip

HEBREW = Language(
    "he", ("iso-8859-8", "utf-8", "windows-1255"),
    _pairs("נועה=noa אורי=uri תמר=tamar יונתן=yonatan"),
    _pairs("לוי=levi כהן=kohen ברק=barak"),
    "שלום", "בברכה",
    ("תמונות מהאגם", "הרכבת ביום שישי", "סיכום הפגישה"),
    (
        "הרכבת יוצאת בעשר, בואו ניפגש קצת קודם.",
        "תוכל לעבור על העמוד השני לפני יום חמישי?",
        "תודה על התמונות, זו עם האנפה היא היפה מכולן.",
        "הספרייה סגורה עד סוף החודש.",
    ),
)  # fmt: skip

ARABIC = Language(
    "ar", ("windows-1256", "utf-8", "iso-8859-6"),
    _pairs("ليلى=layla عمر=omar سلمى=salma يوسف=yusuf"),
    _pairs("حداد=haddad نجار=najjar خوري=khoury"),
    "مرحبا", "مع التحية",
    ("صور من البحيرة", "قطار يوم الجمعة", "محضر الاجتماع"),
    (
        "يغادر القطار في العاشرة، فلنلتق قبل ذلك بقليل.",
        "هل يمكنك مراجعة الصفحة الثانية قبل يوم الخميس؟",
        "شكرا على الصور، صورة مالك الحزين هي الأجمل.",
        "المكتبة مغلقة حتى نهاية الشهر.",
    ),
)  # fmt: skip

JAPANESE = Language(
    "ja", ("iso-2022-jp", "shift_jis", "utf-8", "euc-jp"),
    _pairs("花子=hanako 太郎=taro 健一=kenichi 美咲=misaki"),
    _pairs("山田=yamada 佐藤=sato 鈴木=suzuki 高橋=takahashi"),
    "こんにちは", "よろしくお願いします",
    ("湖の写真", "金曜日の電車", "火曜日の議事録", "夏祭りのご案内"),
    (
        "電車は十時に出ますので、少し早めに駅で会いましょう。",
        "木曜日までに二ページ目を見ていただけますか。",
        "写真をありがとうございます。サギの一枚が一番いいですね。",
        "図書館は月末まで閉まっています。",
        "結局十一人集まりましたが、誰も栓抜きを持っていませんでした。",
    ),
    family_first=True,
)  # fmt: skip

CHINESE = Language(
    "zh", ("gb2312", "utf-8", "gb18030"),
    _pairs("小明=xiaoming 丽华=lihua 建国=jianguo 雨晴=yuqing"),
    _pairs("王=wang 李=li 陈=chen 赵=zhao"),
    "你好", "祝好",
    ("湖边的照片", "星期五的火车", "星期二的会议纪要", "还书"),
    (
        "火车十点开，我们早一点在车站见面吧。",
        "你能在星期四之前看一下第二页吗？",
        "谢谢你的照片，那张苍鹭拍得最好。",
        "图书馆到月底都不开门。",
        "最后一共来了十一个人，可是谁也没带开瓶器。",
    ),
    family_first=True,
)  # fmt: skip

LANGUAGES = (
    ENGLISH, GERMAN, FRENCH, SPANISH, POLISH, TURKISH,
    RUSSIAN, GREEK, HEBREW, ARABIC, JAPANESE, CHINESE,
)  # fmt: skip
