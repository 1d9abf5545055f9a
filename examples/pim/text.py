"""Text from strangers: bytes in any charset, made into strings that are safe to store and show.

No function here raises on any input, and none returns a string with a lone surrogate in it.
"""

from __future__ import annotations

import re
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from html.parser import HTMLParser
from pathlib import PurePosixPath

NAME_LENGTH = 120

# What mail programs write, where Python knows the charset by another name or a superset is meant.
_ALIASES = {
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "iso-8859-8-i": "iso-8859-8",
    "unicode-1-1-utf-7": "utf-7",
    "x-sjis": "shift_jis",
    "x-gbk": "gb18030",
}
_SURROGATES = re.compile("[\ud800-\udfff]")
# Controls, and the marks that turn the direction of text, with which "gpj.exe" poses as a picture.
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]+")


def decode(data: bytes, charset: str | None = None) -> tuple[str, str]:
    """The text of ``data``, and what was wrong, which is empty when nothing was."""
    if not charset:
        return _decode_unnamed(data, "no charset named")
    codec = _ALIASES.get(charset.lower(), charset)
    try:
        return clean(data.decode(codec)), ""
    except UnicodeError:
        return _decode_anyway(data, codec), f"not valid {one_line(charset)[:40]}"
    except (LookupError, ValueError):
        text, _ = _decode_unnamed(data, "")
        return text, f"unknown charset {one_line(charset)[:40]!r}"


def _decode_anyway(data: bytes, codec: str) -> str:
    try:
        return clean(data.decode(codec, errors="replace"))
    except UnicodeError:
        return _decode_unnamed(data, "")[0]


def _decode_unnamed(data: bytes, reason: str) -> tuple[str, str]:
    try:
        return clean(data.decode("utf-8")), ""
    except UnicodeDecodeError:
        return clean(data.decode("cp1252", errors="replace")), f"{reason}: read as Windows-1252"


def as_utf8(data: bytes) -> bytes:
    """A file without its byte order mark, and in UTF-8 if that said UTF-16."""
    if data.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        return decode(data, "utf-16")[0].encode("utf-8")
    return data.removeprefix(BOM_UTF8)


def clean(text: str) -> str:
    """``text`` with Unix line ends, without NUL and without lone surrogates."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
    return _SURROGATES.sub("\ufffd", text)


def one_line(text: str) -> str:
    """``text`` on one line, with single spaces and nothing that controls a terminal."""
    return " ".join(clean(_UNSEEN.sub(" ", text)).split())


def safe_name(name: str) -> str:
    """A file name from anywhere as one that names no folder and is not too long; maybe empty."""
    last = one_line(name.replace("\\", "/").rstrip("/ ").rpartition("/")[2]).lstrip(". ")
    if len(last) <= NAME_LENGTH:
        return last
    suffix = PurePosixPath(last).suffix[:10]
    return last[: NAME_LENGTH - len(suffix)] + suffix


_SILENT = {"script", "style", "head", "title"}
_BREAKS = {"br", "p", "div", "tr", "li", "h1", "h2", "h3", "blockquote"}


class _TextOfHTML(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self._silent = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._silent += tag in _SILENT
        if tag in _BREAKS:
            self.pieces.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if self._silent:
            self._silent -= tag in _SILENT

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.pieces.append(data)


def text_of_html(source: str) -> str:
    """What a reader sees of a page, roughly; the source itself if it is beyond parsing."""
    parser = _TextOfHTML()
    try:
        parser.feed(source)
        parser.close()
    except (AssertionError, ValueError):
        return source
    lines = (" ".join(line.split()) for line in "".join(parser.pieces).splitlines())
    return "\n".join(line for line in lines if line)
