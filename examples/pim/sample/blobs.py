"""Small files to attach, made by hand: the same bytes with every version of every library."""

from __future__ import annotations

import struct
import zlib
from random import Random

_STORED = 0xFFFF


def png(width: int, height: int, random: Random) -> bytes:
    """A picture of coloured stripes."""
    stripes = [bytes(random.randrange(256) for _ in range(3)) for _ in range(8)]
    rows = (b"\0" + stripes[y * 8 // height] * width for y in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", _deflated(b"".join(rows))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _deflated(data: bytes) -> bytes:
    """Stored, not compressed: compressors differ."""
    blocks = [data[at : at + _STORED] for at in range(0, len(data), _STORED)]
    framed = (
        struct.pack("<BHH", at == len(blocks) - 1, len(block), len(block) ^ 0xFFFF) + block
        for at, block in enumerate(blocks)
    )
    return b"\x78\x01" + b"".join(framed) + struct.pack(">I", zlib.adler32(data))


def pdf(lines: list[str]) -> bytes:
    """A document of one page."""
    text = "\n".join(f"({_escaped(line)}) Tj T*" for line in lines)
    stream = f"BT /F1 11 Tf 60 780 Td 15 TL\n{text}\nET".encode("latin-1", "replace")
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R"
        b" /Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    return _pdf_file(objects)


def _escaped(line: str) -> str:
    return line.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")


def _pdf_file(objects: list[bytes]) -> bytes:
    body, offsets = b"%PDF-1.4\n", list[int]()
    for number, content in enumerate(objects, start=1):
        offsets.append(len(body))
        body += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    count = len(objects) + 1
    return body + (
        b"xref\n0 %d\n0000000000 65535 f \n%strailer\n<< /Size %d /Root 1 0 R >>\n"
        b"startxref\n%d\n%%%%EOF\n" % (count, table, count, len(body))
    )


def wav(random: Random, samples: int) -> bytes:
    """A hum of eight bits a sample."""
    period = random.randrange(20, 90)
    data = bytes(128 + (at % period) * 100 // period - 50 for at in range(samples))
    header = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 8000, 8000, 1, 8)
    body = b"WAVE" + header + struct.pack("<4sI", b"data", len(data)) + data
    return struct.pack("<4sI", b"RIFF", len(body)) + body


def csv(random: Random, rows: int) -> bytes:
    """A table of what things cost."""
    things = ("paint", "nails", "timber", "tea", "stamps", "rope", "bread", "lamp oil")
    lines = (
        f"{number},{random.choice(things)},{random.randrange(1, 40)},{random.randrange(100, 9999)}"
        for number in range(1, rows + 1)
    )
    return ("number,thing,pieces,cents\r\n" + "\r\n".join(lines) + "\r\n").encode()
