"""A store's folder, whoever owns it: this process, or another one whose client we are.

One process owns a folder at a time. Who finds the lock free becomes the owner and serves the
others; who finds it taken becomes a client of who has it. When the owner has gone, whoever asks for
something next takes the lock and recovers, and the rest find that one. Reads go on by themselves; a
transaction that was cut off is lost, and a commit in doubt is looked up.
"""

from __future__ import annotations

import os
import random
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from atop.engine.address import Address
from atop.engine.base import Engine
from atop.engine.failures import explain, translated
from atop.engine.folder import Folder, look
from atop.engine.keyring import Keyring, Secret, check, open_keyring
from atop.engine.lasting import Lasting
from atop.engine.localfiles import LocalFiles
from atop.engine.owned import Owned
from atop.engine.owner import Wanted, is_wanted
from atop.errors import StoreBusy, StoreError, StorePermission, StoreUnreachable

if TYPE_CHECKING:
    from atop.engine.joined import Joined
    from atop.engine.remotelink import RemoteLink

_LOOK_EVERY = 0.1

_links: dict[tuple[int, int], Link] = {}
_linking = threading.RLock()


class Link(Lasting["Owned | Joined"]):
    """The engine of a folder, shared by all stores of this process that opened it."""

    def __init__(
        self,
        path: Path,
        *,
        read_only: bool,
        cache_bytes: int,
        timeout: float,
        keyring: Keyring | None = None,
    ) -> None:
        super().__init__(str(path), timeout)
        self.path = path
        self.read_only = read_only
        self.keyring = keyring
        self.users = 1
        self.files = LocalFiles(path / "files", self, None if keyring is None else keyring.files)
        self._timeout = timeout
        self._cache_bytes = cache_bytes
        self._left: Owned | Joined | None = None
        self._try(lambda engine: engine.serial)

    @property
    def owned(self) -> Folder | None:
        """The folder, while this process owns it."""
        return self._backing.folder if isinstance(self._backing, Owned) else None

    @property
    def _joined(self) -> Joined | None:
        """Our place as a client, while another process owns it."""
        backing = self._backing
        return None if isinstance(backing, Owned) else backing

    # Files

    def new_file(self) -> str | None:
        """The name of a new file that the owner has made; ``None`` if that is this process."""
        return self._try(lambda engine: self._behind(engine).new_file())

    def drop_file(self, name: str) -> None:
        """The file of that name is not wanted."""
        joined = self._joined
        if joined is not None:
            joined.drop_file(name)

    # Whose it is

    def share(self, read_only: bool, timeout: float) -> None:
        """One more store uses this."""
        self.patience = max(self.patience, timeout)
        if self.read_only and not read_only:
            self._become_writable()
        self.users += 1

    def _become_writable(self) -> None:
        with self._lock:
            self.read_only = False
            if self._engine is not None:
                self._detach(self._engine)
            try:
                self._try(lambda engine: engine.serial)
            except BaseException:
                self.read_only = True
                raise

    def close(self) -> None:
        """Let one user go; with the last one, let the folder go."""
        with _linking:
            self.users -= 1
            if self.users:
                return
            for identity in [key for key, link in _links.items() if link is self]:
                del _links[identity]
        self._left = self._backing or self._left
        super().close()
        self._forget_left()

    def abandon(self) -> None:
        super().abandon()
        self._forget_left()

    def _forget_left(self) -> None:
        left, self._left = self._left, None
        if left is not None:
            left.forget()

    def _ended_between(self, serial: int) -> None:
        if self._left is not None:
            self._left.let_go(serial)

    def _detach(self, engine: Engine) -> None:
        """Keep the files that our snapshots see until the next engine keeps them."""
        with self._lock:
            if self._engine is engine:
                self._left = self._backing or self._left
            if self._engine is engine and isinstance(self._backing, Owned):
                self._known = self._backing.engine.last
            super()._detach(engine)

    def _attach(self) -> Engine:
        with self._lock:
            engine = super()._attach()
            self._forget_left()
            return engine

    def _is_final(self, engine: Engine) -> bool:
        """What our own disk cannot do, nobody can; what has ended is opened anew."""
        backing = self._backing
        return self._engine is engine and isinstance(backing, Owned) and not backing.engine.ended

    def _find(self) -> Owned | Joined:
        """Whoever only reads leaves the folder to who wants to write, and finds him again."""
        end = time.monotonic() + self.patience
        pause = 0.001
        wanted: Wanted | None = None
        refused: StoreError = StoreBusy(
            f"{self.path} is about to be opened by others: try again", str(self.path)
        )
        try:
            while True:
                if not (self.read_only and is_wanted(self.path)):
                    try:
                        return self._own()
                    except (StoreBusy, StorePermission) as error:
                        refused = error
                try:
                    return self._join(end)
                except PermissionError as error:
                    raise explain(error, str(self.path)) from error
                except (StoreUnreachable, FileNotFoundError, ConnectionRefusedError, TimeoutError):
                    pass
                if time.monotonic() + pause > end or isinstance(refused, StorePermission):
                    raise refused
                if wanted is None and not self.read_only:
                    wanted = Wanted(self.path)
                time.sleep(pause * (0.5 + random.random()))
                pause = min(2 * pause, 0.02)
        finally:
            if wanted is not None:
                wanted.close()

    def _join(self, end: float) -> Joined:
        from atop.engine.joined import Joined

        patience = max(end - time.monotonic(), 0.01)
        joined = Joined(self.path, self.read_only, patience, self.keyring)
        joined.connection.timeout = self.patience
        return joined

    def _own(self) -> Owned:
        with translated(str(self.path)):
            owned = Owned(
                self.path, self.read_only, self._cache_bytes, self._timeout, keyring=self.keyring
            )
        if self.read_only:
            watch = threading.Thread(
                target=self._watch, args=(owned,), name="atop-reader", daemon=True
            )
            watch.start()
        return owned

    def _watch(self, owned: Owned) -> None:
        """Let go of a folder that we only read as soon as somebody wants to write it."""
        while not owned.closed.wait(_LOOK_EVERY):
            if is_wanted(self.path):
                self._detach(owned.engine)


def open_link(
    path: Path,
    *,
    read_only: bool,
    cache_bytes: int,
    timeout: float,
    secret: Secret | None = None,
) -> Link:
    """The link to the store in `path`, which is made if there is none.

    :raises NotAStore: when the path holds something else, or nothing and `read_only`.
    :raises WrongKey: when `secret` is not its key.
    :raises StoreBusy: when whoever owns it does not answer.
    """
    path = path.absolute()
    keyring = find_keyring(path, read_only, secret, timeout)
    with translated(str(path)), _linking:
        status = path.stat()
        identity = status.st_dev, status.st_ino
        link = _links.get(identity)
        if link is None:
            link = _links[identity] = Link(
                path,
                read_only=read_only,
                cache_bytes=cache_bytes,
                timeout=timeout,
                keyring=keyring,
            )
        else:
            check(path, link.keyring)
            link.share(read_only, timeout)
        return link


def find_keyring(
    path: Path, read_only: bool, secret: Secret | None, timeout: float
) -> Keyring | None:
    """The keys of the store in `path`, or that may be made there; ``None`` if it has none."""
    with translated(str(path)):
        look(path, read_only)
        return open_keyring(path, secret, timeout)


def open_address(
    address: Address,
    token: str,
    ca: str | os.PathLike[str] | None,
    cert: str | os.PathLike[str] | None,
    cert_key: str | os.PathLike[str] | None,
    insecure: bool,
    *,
    read_only: bool,
    timeout: float,
) -> RemoteLink:
    """The link to the store of the server at `address`; what it needs is imported only now.

    :raises StoreUnreachable: when nobody answers there.
    :raises StorePermission: when we are not let in.
    """
    from atop.engine.remotelink import Access, RemoteLink

    def path(name: str | os.PathLike[str] | None) -> Path | None:
        return None if name is None else Path(name)

    access = Access(token, path(ca), path(cert), path(cert_key), insecure)
    return RemoteLink(address, access, read_only=read_only, timeout=timeout)


def _before_fork() -> None:
    _linking.acquire()
    for link in _links.values():
        link.hold()


def _after_fork_in_parent() -> None:
    for link in _links.values():
        link.let_go()
    _linking.release()


def _after_fork_in_child() -> None:
    global _linking
    _linking = threading.RLock()
    for link in _links.values():
        link.abandon()


# A fork waits for what is just being opened or closed, so that a child knows all there is.
os.register_at_fork(
    before=_before_fork,
    after_in_parent=_after_fork_in_parent,
    after_in_child=_after_fork_in_child,
)
