"""Make the sample files: ``python -m examples.pim.sample.make_samples [DIR]``.

They come out the same, byte for byte, on every machine and with every version of Python.
"""

from __future__ import annotations

import sys
from pathlib import Path
from random import Random

from .cards import address_book
from .events import calendar
from .hostile import hostile_mails
from .mails import NEWEST, Sent, mails
from .mime import separator
from .people import people

FOLDER = Path(__file__).parent
_PEOPLE, _MAILS, _CARDS, _EVENTS = 130, 280, 136, 92
_IN_MAILDIR = ("new", "new", "new", "cur", "cur", "cur", ".Archive/new", ".Archive/cur")


def sample_files() -> dict[str, bytes]:
    """The bytes of each file, by its path in the folder."""
    everybody = people(_PEOPLE)
    sent = mails(_MAILS, everybody)
    return {
        "mail.mbox": _mbox(sent),
        "contacts.vcf": address_book(_CARDS, everybody),
        "calendar.ics": calendar(_EVENTS),
        **_maildir(sent),
    }


def _mbox(sent: list[Sent]) -> bytes:
    """All but some of the last messages, with the hostile ones anywhere between them."""
    random = Random("mbox")
    found = [separator(each.address, each.when) + each.source for each in _without_maildir(sent)]
    for source in hostile_mails():
        line = separator("MAILER-DAEMON", NEWEST)
        found.insert(random.randrange(1, len(found)), line + source)
    return b"\n".join(each if each.endswith(b"\n") else each + b"\n" for each in found)


def _maildir(sent: list[Sent]) -> dict[str, bytes]:
    """Some of the last messages, and one that the mbox has too."""
    moved = [*sent[::-9][: len(_IN_MAILDIR) - 1], sent[0]]
    return {
        f"maildir/{folder}/{int(each.when.timestamp())}.M{number}.example": each.source
        for number, (folder, each) in enumerate(zip(_IN_MAILDIR, moved, strict=True))
    }


def _without_maildir(sent: list[Sent]) -> list[Sent]:
    moved = {each.source for each in sent[::-9][: len(_IN_MAILDIR) - 1]}
    return [each for each in sent if each.source not in moved]


def main() -> None:
    """Write the files to the folder given, or to the one that this is in."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    for name, data in sample_files().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


if __name__ == "__main__":
    main()
