"""The address book of the sample: vCard 2.1, 3.0 and 4.0, and some broken cards."""

from __future__ import annotations

import quopri
from base64 import b64encode
from random import Random

from .blobs import png
from .people import Person

_STREETS = ("Mill Lane", "Harbour Street", "Station Road", "Orchard Close", "Bridge Walk")
_TOWNS = ("Northwick", "Eastbury", "Sandport", "Millbrook")
_TRADES = ("Carpenter", "Librarian", "Teacher", "Engineer", "Gardener", "Baker")
_FIRMS = ("Heron Boats", "Lakeside Library", "Fence & Sons, Ltd.", "Quiet Works")


def address_book(count: int, people: list[Person]) -> bytes:
    """So many cards of people, then the broken ones."""
    random = Random("cards")
    makers = (_version_2, _version_3, _version_3, _version_4)
    cards = [
        random.choice(makers)(number, people[number % len(people)], random)
        for number in range(count)
    ]
    return b"".join([*cards, *_BROKEN])


class _Details:
    """What is known of somebody beside the name."""

    def __init__(self, number: int, person: Person, random: Random) -> None:
        self.phone = f"+1 555 {random.randrange(1000):03} {random.randrange(10000):04}"
        self.street = f"{random.randrange(1, 200)} {random.choice(_STREETS)}"
        self.town = random.choice(_TOWNS)
        self.firm = random.choice(_FIRMS)
        self.trade = random.choice(_TRADES)
        self.note = random.choice(person.language.sentences)
        self.uid = f"card-{number:04}@example.org"
        self.photo = png(6, 6, random) if random.random() < 0.08 else b""
        year, month, day = (
            random.randrange(1935, 2012),
            random.randrange(1, 13),
            random.randrange(1, 29),
        )
        self.birthday = (f"{year}", f"{month:02}", f"{day:02}")
        self.has_birthday = random.random() < 0.6


def _folded(lines: list[bytes], width: int = 74) -> bytes:
    """Lines of at most so many bytes, folded even within a character, as some programs do."""
    folded = []
    for line in lines:
        pieces = [line[at : at + width] for at in range(0, len(line), width)]
        folded.append(b"\r\n ".join(pieces))
    return b"\r\n".join(folded) + b"\r\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace(",", "\\,").replace(";", "\\;").replace("\n", "\\n")


def _version_2(number: int, person: Person, random: Random) -> bytes:
    known = _Details(number, person, random)
    charset = _charset(person, random)
    name = f"{person.family};{person.given}"
    lines = [
        b"BEGIN:VCARD",
        b"VERSION:2.1",
        _printable("N", name, charset),
        _printable("FN", person.name, charset),
        f"EMAIL;INTERNET:{person.address}".encode(),
        f"TEL;HOME;VOICE:{known.phone}".encode(),
        f"ADR;WORK:;;{known.street};{known.town};;;".encode(),
        _printable("NOTE", f"{known.note}\r\n({known.trade})", charset),
    ]
    if known.has_birthday:
        lines.append(f"BDAY:{'-'.join(known.birthday)}".encode())
    if known.photo:
        encoded = b64encode(known.photo)
        pieces = [encoded[at : at + 60] for at in range(0, len(encoded), 60)]
        lines += [b"PHOTO;ENCODING=BASE64;PNG:", *(b"  " + piece for piece in pieces), b""]
    return b"\r\n".join([*lines, b"END:VCARD", b""])


def _charset(person: Person, random: Random) -> str:
    charset = random.choice(person.language.charsets)
    try:
        (person.name + "".join(person.language.sentences)).encode(charset)
    except UnicodeEncodeError:
        return "utf-8"
    # Escape sequences of this one hold bytes that quoted-printable of old programs did not touch.
    return "utf-8" if charset == "iso-2022-jp" else charset


def _printable(name: str, text: str, charset: str) -> bytes:
    encoded = quopri.encodestring(text.encode(charset).replace(b"\r\n", b"=0D=0A"), quotetabs=False)
    # The line breaks were encoded by hand, as they must be in 2.1.
    encoded = encoded.replace(b"=3D0D=3D0A", b"=0D=0A").replace(b"=\n", b"=\r\n")
    return f"{name};CHARSET={charset.upper()};ENCODING=QUOTED-PRINTABLE:".encode() + encoded


def _version_3(number: int, person: Person, random: Random) -> bytes:
    known = _Details(number, person, random)
    lines = [
        "BEGIN:VCARD",
        "VERSION:3.0",
        f"UID:{known.uid}",
        f"N:{_escaped(person.family)};{_escaped(person.given)};;;",
        f"FN:{_escaped(person.name)}",
        f"ORG:{_escaped(known.firm)};Office {number % 7}",
        f"TITLE:{known.trade}",
        f"item1.EMAIL;TYPE=INTERNET,HOME;TYPE=pref:{person.address}",
        "item1.X-ABLabel:post",
        f"TEL;TYPE=CELL:{known.phone}",
        f"ADR;TYPE=HOME:;;{known.street};{known.town};;{10000 + number};",
        f"NOTE:{_escaped(known.note)}",
        "CATEGORIES:friends,boats",
    ]
    if known.has_birthday:
        lines.append(f"BDAY;VALUE=date:{'-'.join(known.birthday)}")
    if known.photo:
        lines.append(f"PHOTO;ENCODING=b;TYPE=PNG:{b64encode(known.photo).decode()}")
    return _folded([line.encode() for line in [*lines, "END:VCARD"]])


def _version_4(number: int, person: Person, random: Random) -> bytes:
    known = _Details(number, person, random)
    year, month, day = known.birthday
    second = f"{person.address.partition('@')[0]}@example.com"
    lines = [
        "BEGIN:VCARD",
        "VERSION:4.0",
        f"UID:urn:uuid:00000000-0000-4000-8000-{number:012}",
        "KIND:individual",
        f"FN;LANGUAGE={person.language.code}:{_escaped(person.name)}",
        f"N:{_escaped(person.family)};{_escaped(person.given)};;;",
        f"EMAIL;PREF=1:{person.address}",
        f"EMAIL;TYPE=work:{second}",
        f'TEL;VALUE=uri;TYPE="voice,home":tel:{known.phone.replace(" ", "-")}',
        f"ADR;TYPE=home:;;{known.street};{known.town};;{10000 + number};",
        f"NICKNAME:{person.address[:3]},{person.address[:4]}",
        f"NOTE:{_escaped(known.note)}",
    ]
    if known.has_birthday:
        lines.append(f"BDAY:{random.choice((year, '--')) + month + day}")
    if known.photo:
        lines.append(f"PHOTO:data:image/png;base64,{b64encode(known.photo).decode()}")
    return _folded([line.encode() for line in [*lines, "END:VCARD"]])


_BROKEN = (
    b"BEGIN:VCARD\r\nVERSION:3.0\r\nFN:No End\r\nEMAIL:no.end@example.org\r\n",
    b"BEGIN:VCARD\r\nFN:No Version\r\nEND:VCARD\r\n",
    b"BEGIN:VCARD\r\nVERSION:5.7\r\nFN:Newer Version\r\nEND:VCARD\r\n",
    b"Somebody wrote a note between two cards.\r\n",
    b"BEGIN:VCARD\r\nVERSION:3.0\r\nFN:Bad Line\r\nthis line is no property\r\nEND:VCARD\r\n",
    b"BEGIN:VCARD\r\nVERSION:3.0\r\nFN:Bad Photo\r\nPHOTO;ENCODING=b:!no base64!\r\nEND:VCARD\r\n",
    b"BEGIN:VCARD\r\nVERSION:3.0\r\nUID:twice\r\nFN:Same Uid One\r\nEND:VCARD\r\n",
    b"BEGIN:VCARD\r\nVERSION:3.0\r\nUID:twice\r\nFN:Same Uid Two\r\nEND:VCARD\r\n",
    b"BEGIN:VCARD\r\nVERSION:3.0\r\nUID:again\r\nFN:Twice The Same\r\nEND:VCARD\r\n",
    b"BEGIN:VCARD\r\nVERSION:3.0\r\nUID:again\r\nFN:Twice The Same\r\nEND:VCARD\r\n",
    b"BEGIN:VCARD\r\nVERSION:3.0\r\nTEL:+1 555 000 0000\r\nEND:VCARD\r\n",
    b"BEGIN:VCARD\r\nVERSION:3.0\r\nEND:VCARD\r\n",
    b"BEGIN:VCARD\r\nVERSION:3.0\r\nFN:J\xfcrgen Latin\r\nBDAY:1999-02-31\r\nEND:VCARD\r\n",
    b"BEGIN:VCARD\r\nVERSION:3.0\r\nFN:Unescaped, Comma; Esq.\r\nNOTE:a, b; c\r\n"
    b"BDAY:1604-04-12\r\nEND:VCARD\r\n",
    b"BEGIN:VCARD\r\nVERSION:2.1\r\nN:Boss;Big\r\nAGENT:\r\n"
    b"BEGIN:VCARD\r\nVERSION:2.1\r\nN:Agent;Small\r\nEND:VCARD\r\nEND:VCARD\r\n",
    b"BEGIN:VCARD\r\nVERSION:2.1\r\nN;CHARSET=KLINGON:Charset;Unknown\r\nKEY;BASE64:AAAA\r\n"
    b"END:VCARD\r\n",
    b"BEGIN:VCARD\r\nVERSION:4.0\r\nFN:Year Alone\r\nBDAY:1985\r\nEND:VCARD\r\n",
    b"BEGIN:VCARD\r\nVERSION:4.0\r\nFN:In Words\r\nBDAY;VALUE=text:circa 1800\r\nEND:VCARD\r\n",
)
