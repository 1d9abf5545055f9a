"""The well-formed mail of the sample: conversations over two years, some with attachments."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random

from .blobs import csv, pdf, png, wav
from .mime import Part, attachment, date_header, header_lines, multipart, text_part, word
from .people import Person

NEWEST = datetime(2025, 10, 17, 14, 42, 7, tzinfo=UTC)
_SPAN = timedelta(days=640)
_ZONES = (0, 1, 2, 2, 3, 9, -5, -8)


@dataclass(frozen=True)
class Sent:
    """A message, when it was sent and by whom."""

    when: datetime
    address: str
    source: bytes


@dataclass
class _Thread:
    subject: str
    people: list[Person]
    identifiers: list[str]
    last: datetime


def mails(count: int, people: list[Person]) -> list[Sent]:
    """So many messages, by date; the last one at ``NEWEST``."""
    random = Random("mails")
    threads, found = list[_Thread](), list[Sent]()
    for number in range(count):
        when = _date(number, count, random)
        recent = [each for each in threads if when - each.last < timedelta(days=20)]
        if recent and random.random() < 0.4:
            thread = random.choice(recent)
        else:
            thread = _new_thread(people, when, random)
            threads.append(thread)
        found.append(_Writer(thread, number, when, random).sent())
    return found


def _date(number: int, count: int, random: Random) -> datetime:
    """Denser towards the end, as in a mailbox that is cleared out now and then."""
    rest = 1 - (number + 1) / count
    seconds = int(_SPAN.total_seconds() * rest**1.6)
    return NEWEST - timedelta(seconds=seconds - random.randrange(60) * bool(seconds))


def _new_thread(people: list[Person], when: datetime, random: Random) -> _Thread:
    first = random.choice(people)
    company = [first] + [random.choice(people) for _ in range(random.randrange(1, 4))]
    subject = random.choice(first.language.subjects)
    return _Thread(subject, company, [], when)


class _Writer:
    """Writes one message of a thread, by one of its people to the others."""

    def __init__(self, thread: _Thread, number: int, when: datetime, random: Random) -> None:
        self.thread, self.number, self.when, self.random = thread, number, when, random
        self.author = thread.people[0] if not thread.identifiers else random.choice(thread.people)
        self.language = thread.people[0].language
        self.text = self._text()
        self.charset = self._charset()

    def sent(self) -> Sent:
        body = self._body()
        headers = {**self._headers(), "MIME-Version": "1.0"}
        source = header_lines(headers) + body.source()
        return Sent(self.when, self.author.address, source)

    def _text(self) -> str:
        sentences = list(self.language.sentences)
        paragraphs = []
        for _ in range(self.random.randrange(1, 4)):
            chosen = [self.random.choice(sentences) for _ in range(self.random.randrange(1, 5))]
            paragraphs.append("\n".join(dict.fromkeys(chosen)))
        company = self.thread.people[-1].given
        closing = f"{self.language.bye}\n{self.author.given}"
        # An mbox quotes a line that begins like a separator.
        text = "\n\n".join([f"{self.language.hello} {company},", *paragraphs, closing])
        return text.replace("\nFrom ", "\n>From ") + "\n"

    def _charset(self) -> str:
        charset = self.random.choice(self.language.charsets)
        everything = self.text + self.thread.subject + self.author.name
        try:
            everything.encode(charset)
        except UnicodeEncodeError:
            return "utf-8"
        return charset

    def _headers(self) -> dict[str, str]:
        thread, identifier = (
            self.thread,
            f"{self.number:04}.{self.random.randrange(10**8)}@example.org",
        )
        answer = "Re: " if thread.identifiers else ""
        others = [each for each in thread.people if each is not self.author] or [self.author]
        headers = {
            "From": self._address(self.author),
            "To": ",\n ".join(self._address(each) for each in dict.fromkeys(others)),
            "Subject": answer + word(thread.subject, self.charset, self.random.choice("bq")),
            "Date": date_header(self.when, self.random.choice(_ZONES)),
            "Message-ID": f"<{identifier}>",
        }
        if thread.identifiers:
            headers["In-Reply-To"] = f"<{thread.identifiers[-1]}>"
            headers["References"] = "\n ".join(f"<{each}>" for each in thread.identifiers[-8:])
        thread.identifiers.append(identifier)
        thread.last = self.when
        return headers

    def _address(self, person: Person) -> str:
        return f"{word(person.name, 'utf-8')} <{person.address}>"

    def _body(self) -> Part:
        encoding = self.random.choice(("8bit", "quoted-printable", "base64", "quoted-printable"))
        plain = text_part(self.text, self.charset, encoding)
        chance = self.random.random()
        if chance < 0.14:
            boundary = f"=_alternative_{self.number}"
            plain = multipart("alternative", boundary, [plain, self._page(encoding)])
        elif chance < 0.20:
            plain = self._page(encoding)
        if self.random.random() > 0.15:
            return plain
        files = [self._file() for _ in range(self.random.choice((1, 1, 1, 2, 3)))]
        return multipart("mixed", f"=_mixed_{self.number}", [plain, *files])

    def _page(self, encoding: str) -> Part:
        paragraphs = "".join(f"<p>{each}</p>\n" for each in self.text.strip().split("\n\n"))
        direction = ' dir="rtl"' if self.language.code in ("he", "ar") else ""
        page = f"<html><head><title>-</title></head><body{direction}>\n{paragraphs}</body></html>\n"
        return text_part(page, self.charset, encoding, "html")

    def _file(self) -> Part:
        random, number = self.random, self.number
        kind = random.choice(("png", "png", "pdf", "csv", "txt", "wav"))
        if kind == "png":
            side = random.choice((8, 16, 24, 32, 48, 64))
            name = random.choice(("heron", "lake", "fence", "boat"))
            return attachment(f"{name}-{number}.png", "image/png", png(side, side, random))
        if kind == "pdf":
            lines = [
                f"{row:3}  {random.choice(self.language.sentences)}"
                for row in range(random.randrange(5, 60))
            ]
            return attachment(f'"report {number}.pdf"', "application/pdf", pdf(lines))
        if kind == "csv":
            return attachment(
                f"costs-{number}.csv", "text/csv", csv(random, random.randrange(3, 300))
            )
        if kind == "wav":
            return attachment("hum.wav", "audio/x-wav", wav(random, random.randrange(400, 9000)))
        name = f'"{word(self.thread.subject[:8], "utf-8")}.txt"'
        return attachment(name, "text/plain; charset=utf-8", self.text.encode())
