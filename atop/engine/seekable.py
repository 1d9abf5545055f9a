"""A file for reading whose bytes come from elsewhere: where in it the next read begins."""

from __future__ import annotations

import io


class Seekable(io.RawIOBase):
    """A place in a file of ``size`` bytes; who reads moves ``_at`` on."""

    size: int
    _at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}.get(whence)
        if start is None or start + offset < 0:
            raise ValueError(f"{offset} and {whence} lead to no place in a file")
        self._at = start + offset
        return self._at

    def tell(self) -> int:
        return self._at
