"""The kinds of broken mail that real mailboxes hold, one of each."""

from __future__ import annotations

from base64 import encodebytes

_TOP = b"""From: Nobody <nobody@example.org>
To: bob@example.com
Subject: %s
Date: Sun, 14 Sep 2025 08:%02d:00 +0000
Message-ID: <hostile-%d@example.org>
"""


def hostile_mails() -> list[bytes]:
    """Messages for an mbox; two of them are the same one."""
    middling = [
        _TOP % (subject, number, number) + rest for number, (subject, rest) in enumerate(_RESTS)
    ]
    return [*_WHOLE, *middling, middling[0]]


def _attached(disposition: bytes) -> bytes:
    """A message with one file, named by `disposition`, that could be anything."""
    return (
        b'Content-Type: multipart/mixed; boundary="edge"\n\n'
        b"--edge\nContent-Type: text/plain\n\nSee the file.\n"
        b"--edge\nContent-Type: application/octet-stream\nContent-Disposition: attachment"
        + disposition
        + b"\nContent-Transfer-Encoding: base64\n\n"
        + encodebytes(b"What is in a name? " + disposition)
        + b"--edge--\n"
    )


_INNER = b"""From: Inner <inner@example.com>
Subject: =?utf-8?q?Von_innen_gr=C3=BC=C3=9Ft?=
Date: Sat, 13 Sep 2025 07:00:00 +0000

A message within a message.
"""

_WHOLE = (
    # Dates
    b"From: clock@example.org\nSubject: No date at all\nMessage-ID: <d1@example.org>\n\nWhen?\n",
    b"From: clock@example.org\nSubject: An odd date\nDate: the day before yesterday\n\nWhen?\n",
    b"From: clock@example.org\nSubject: A far date\nDate: Mon, 99 Jan 99999 77:00:00 +9999\n\n?\n",
    b"From: clock@example.org\nSubject: An empty date\nDate:\n\nWhen?\n",
    # Headers
    b"From: M\xfcller <mueller@example.org>\nSubject: Gr\xfc\xdfe in Latin-1, bare\n"
    b"Date: Sun, 14 Sep 2025 07:01:00 +0200\n\nTsch\xfcs\n",
    "From: Ελένη <eleni@example.org>\nSubject: Γράμμα in UTF-8, bare\n"
    "Date: Sun, 14 Sep 2025 07:02:00 +0200\n\nΓεια\n".encode(),
    b"Subject: No sender\nDate: Sun, 14 Sep 2025 07:03:00 +0000\n\nFrom nobody.\n",
    b"From: A name alone\nTo: undisclosed-recipients:;\nSubject: No address\n"
    b"Date: Sun, 14 Sep 2025 07:04:00 +0000\n\nHello.\n",
    b"From: Baker, Bob <bob.baker@example.org>\nTo: Doe, Jane <jane@example.com>, (\n"
    b"Subject: A comma in a name\nDate: Sun, 14 Sep 2025 07:05:00 +0000\n\nHello.\n",
    b"From: cut@example.org\nSubject: A header that is none\nthis line is no header\n"
    b"Date: Sun, 14 Sep 2025 07:06:00 +0000\n\nHello.\n",
    b"No header at all, just some text that somebody appended to the mailbox.\n",
    b"From: alone@example.org\nSubject: Headers alone\nDate: Sun, 14 Sep 2025 07:07:00 +0000\n",
    b"From: win@example.org\r\nSubject: Line ends of another system\r\n"
    b"Date: Sun, 14 Sep 2025 07:08:00 +0000\r\n\r\nOne\r\nTwo\r\n",
    # Nothing
    b"",
    b"\n\n",
    # Identifiers
    b"From: one@example.org\nSubject: First with this id\nDate: Sun, 14 Sep 2025 07:09:00 +0000\n"
    b"Message-ID: <same@example.org>\n\nThe first.\n",
    b"From: two@example.org\nSubject: Second with this id\nDate: Sun, 14 Sep 2025 07:10:00 +0000\n"
    b"Message-ID: <same@example.org>\n\nThe second, by somebody else.\n",
    b"From: three@example.org\nSubject: No id\nDate: Sun, 14 Sep 2025 07:11:00 +0000\n\nNone.\n",
    b"From: four@example.org\nSubject: No angle brackets\nDate: Sun, 14 Sep 2025 07:12:00 +0000\n"
    b"Message-ID: bare-id\nReferences: not ids at all\n\nHello.\n",
)

_RESTS: tuple[tuple[bytes, bytes], ...] = (
    (b"Twice the same", b"\nThis message is in the mailbox twice.\n"),
    # Charsets
    (
        b"An unknown charset",
        b"Content-Type: text/plain; charset=klingon-1\n\nGr\xc3\xbc\xc3\x9fe\n",
    ),
    (b"The wrong charset", b"Content-Type: text/plain; charset=utf-8\n\nGr\xfc\xdfe\n"),
    (b"No charset", b"Content-Type: text/plain\n\nGr\xfc\xdfe \x93quoted\x94\n"),
    (b"A charset with a NUL", b'Content-Type: text/plain; charset="utf\x00-8"\n\nHello.\n'),
    (b"=?utf-8?b?R3LDvMOfZQ=?= =?utf-8?q?cut_=C3?=", b"\nBroken encoded words.\n"),
    (b"=?x-nobody-knows?q?Gr=FC=DFe?=", b"\nAn encoded word in an unknown charset.\n"),
    (b"=?utf-8?b?8J+mqQ==?= \xf0\x9f\xa6\xa9 twice", b"\nEncoded and bare at once.\n"),
    (b"Broken base64", b"Content-Transfer-Encoding: base64\n\nSGVsbG8gQm9i!!!*LCBob3c\n"),
    (b"Broken quoted-printable", b"Content-Transfer-Encoding: quoted-printable\n\n=ZZ =C3=B ok=\n"),
    (b"An unknown encoding", b"Content-Transfer-Encoding: x-pigeon\n\nCoo.\n"),
    # Structure
    (
        b"The end is missing",
        b"Content-Type: multipart/mixed; boundary=edge\n\n--edge\nContent-Type: text/plain\n\nCu",
    ),
    (
        b"A boundary that never comes",
        b"Content-Type: multipart/mixed; boundary=edge\n\n--ledge\n\nAll of this is text.\n",
    ),
    (b"No boundary", b"Content-Type: multipart/mixed\n\nAll of this is text too.\n"),
    (b"No content type", b"Content-Type: ;;;\n\nHello.\n"),
    (
        b"A message within",
        b"Content-Type: multipart/mixed; boundary=edge\n\n--edge\nContent-Type: text/plain\n\n"
        b"Forwarded.\n--edge\nContent-Type: message/rfc822\n\n" + _INNER + b"--edge--\n",
    ),
    (b"Only a message within", b"Content-Type: message/rfc822\n\n" + _INNER),
    (
        b"A delivery report",
        b"Content-Type: multipart/report; boundary=edge\n\n--edge\n\nNot delivered.\n"
        b"--edge\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; example.org\n\n"
        b"Final-Recipient: rfc822; gone@example.com\nAction: failed\n--edge--\n",
    ),
    # Names of files
    (b"A name that climbs", _attached(b'; filename="../../etc/passwd"')),
    (
        b"A name from another system",
        _attached(b'; filename="C:\\\\Windows\\\\system32\\\\calc.exe"'),
    ),
    (b"A name with a NUL", _attached(b"; filename*=utf-8''photo%00.exe.png")),
    (b"A long name", _attached(b'; filename="' + b"long" * 75 + b'.text"')),
    (b"A name that turns", _attached(b"; filename*=utf-8''holiday%E2%80%AEgpj.exe")),
    (b"No name", _attached(b"")),
    (b"A name of dots", _attached(b'; filename=".."')),
    (b"A name in pieces", _attached(b"; filename*0*=utf-8''%C3%BCber; filename*1=morgen.bin")),
    (b"An encoded name", _attached(b'; filename="=?koi8-r?b?8NLJ18XU?=.bin"')),
    (b"A Hebrew name", _attached(b"; filename*=utf-8''%D7%9E%D7%9B%D7%AA%D7%91.bin")),
    # What shows
    (b"So long " * 400, b"\nWhat a subject.\n"),
    (b"\x1b[31mRed\x07 alert\x1b[2J [bold]not markup[/bold]", b"\nA subject for terminals.\n"),
    (
        b"From the beginning of a line",
        b"\nSome programs do not quote it.\n\nFrom here on, it is still the same message.\n",
    ),
    (
        b"A page that is not well formed",
        b"Content-Type: text/html\n\n"
        b"<p>Tom &amp; <b>Jerry<p>&nbsp;<script>alert(1)</script><![if>\n",
    ),
)
