"""The keys of a store: one that is random and never changes, locked up in the file ``KEY``.

The user's key only opens that file, so that it can be changed at once, however large the store is.
Of the random key two others are made: Berkeley DB's password, and the key of the external files.
No key is ever shown, by no ``repr`` and in no error.
"""

from __future__ import annotations

import hashlib
import os
import time
import unicodedata
from pathlib import Path

from atop.engine import keyfile
from atop.engine.owner import Owner
from atop.engine.pagecipher import first_page, is_encrypted, opens
from atop.engine.sealed import Hidden, aead, derive
from atop.errors import DamagedStore, StoreBusy, StoreError, ValueRefused, WrongKey

LEAST_BYTES = 32
_MASTER_BYTES = 32
_LOOK_EVERY = 0.01
class Secret:
    """A key as the user has it: a passphrase, or random bytes.

    :raises ValueRefused: when it is no key, or too short to be one.
    """

    __slots__ = ("_bytes", "is_text")

    def __init__(self, key: str | bytes) -> None:
        if not isinstance(key, (str, bytes)):
            raise ValueRefused(f"a key is a passphrase or bytes, not a {type(key).__name__}")
        self.is_text = isinstance(key, str)
        if isinstance(key, str):
            self._bytes = unicodedata.normalize("NFC", key).encode("utf-8", "surrogatepass")
        else:
            self._bytes = key
        if not key:
            raise ValueRefused("a key is not empty: leave out key= for a store without one")
        if not self.is_text and len(key) < LEAST_BYTES:
            raise ValueRefused(
                f"a key of bytes has at least {LEAST_BYTES}, which are random: take "
                f"os.urandom({LEAST_BYTES}), or pass a passphrase as a str"
            )

    def __repr__(self) -> str:
        return "<a key>"

    def __reduce__(self) -> str:
        raise TypeError("a key is not pickled")

    def stretched(self, kind: str, salt: bytes) -> bytes:
        """The key that the file KEY is locked with."""
        if kind == keyfile.HKDF:
            return derive(self._bytes, b"atop key", salt=salt)
        power, blocks, lanes = map(int, kind.split(":")[1:])
        return Hidden(hashlib.scrypt(
            self._bytes, salt=salt, n=1 << power, r=blocks, p=lanes, dklen=32,
            maxmem=keyfile.memory(power, blocks) + (1 << 20) * lanes,
        ))


class Password(str):
    """A password, or a token, that no traceback shows, however much it shows of its frames."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<a password>"


class Keyring:
    """The keys of one store, which was opened with the right one."""

    __slots__ = ("_master",)

    def __init__(self, master: bytes) -> None:
        self._master = Hidden(master)

    def __repr__(self) -> str:
        return "<keys of a store>"

    def __reduce__(self) -> str:
        raise TypeError("keys are not pickled")

    @property
    def ident(self) -> bytes:
        """By what others may know which keys these are."""
        return derive(self._master, b"atop ident", 16)

    @property
    def password(self) -> Password:
        """Berkeley DB's."""
        return Password(derive(self._master, b"atop tables").hex())

    @property
    def files(self) -> bytes:
        """The key of the external files."""
        return derive(self._master, b"atop files")

    def locked(self, secret: Secret) -> str:
        """What the file KEY says when `secret` opens it."""
        kind = keyfile.SCRYPT if secret.is_text else keyfile.HKDF
        salt, nonce = os.urandom(keyfile.SALT_BYTES), os.urandom(keyfile.NONCE_BYTES)
        return self._locked(secret, kind, salt, nonce)

    def _locked(self, secret: Secret, kind: str, salt: bytes, nonce: bytes) -> str:
        head = f"atop key 1 {kind} {salt.hex()} {self.ident.hex()}"
        box = aead(secret.stretched(kind, salt))
        line = f"{head} {nonce.hex()} {box.encrypt(nonce, self._master, head.encode()).hex()}"
        return keyfile.summed(line)


def takes_bytes(folder: Path) -> bool:
    """Whether the store in `folder` was given bytes for a key, not a passphrase."""
    return keyfile.read(folder).kind == keyfile.HKDF


def has_key(folder: Path) -> bool:
    """Whether there is a store with a key in `folder`."""
    return os.path.lexists(folder / keyfile.FILE)


def open_keyring(folder: Path, secret: Secret | None, timeout: float) -> Keyring | None:
    """The keys of the store in `folder`, which are made if there is no store yet.

    :raises WrongKey: when `secret` is not the store's key.
    :raises StoreBusy: when somebody is making the store, and has not ended within `timeout`.
    """
    end = time.monotonic() + timeout
    while True:
        if has_key(folder) or secret is None or (folder / "FORMAT").exists():
            return unlock(folder, secret)
        try:
            return _make(folder, secret)
        except StoreBusy:
            if time.monotonic() > end:
                raise
        time.sleep(_LOOK_EVERY)


def unlock(folder: Path, secret: Secret | None) -> Keyring | None:
    """The keys of the store in `folder`, or ``None`` if it has none and is to have none.

    :raises WrongKey: when `secret` is not the store's key.
    :raises DamagedStore: when the file KEY is not as it was written.
    """
    if not has_key(folder):
        if secret is not None:
            raise _unlocked(folder)
        return None
    line = keyfile.read(folder)
    if secret is None:
        raise WrongKey(f"{folder} is encrypted: open it with its key", str(folder))
    wrong = WrongKey(f"this is not the key of {folder}", str(folder))
    if secret.is_text == (line.kind == keyfile.HKDF):
        raise wrong
    box = aead(secret.stretched(line.kind, line.salt))
    from cryptography.exceptions import InvalidTag

    try:
        keyring = Keyring(box.decrypt(line.nonce, line.box, line.head.encode()))
    except InvalidTag:
        raise wrong from None
    if keyring.ident != line.ident:
        raise keyfile.damaged(folder)
    return keyring


def check(folder: Path, keyring: Keyring | None) -> None:
    """Make sure that the store in `folder` still has these keys, or still none.

    :raises WrongKey: when it has others.
    :raises DamagedStore: when they are lost.
    """
    if keyring is None:
        unlock(folder, None)
    elif not has_key(folder):
        raise keyfile.lost(folder)
    elif keyfile.read(folder).ident != keyring.ident:
        raise WrongKey(f"another store is in {folder} by now: open it again", str(folder))


def check_fits(environment: Path, names: tuple[str, ...], keyring: Keyring | None) -> None:
    """Make sure that these are the keys of the tables, as long as one of them can still tell.

    :raises DamagedStore: when the file KEY is not the one of this store, or is lost.
    """
    pages = [page for name in names if (page := first_page(environment / name))]
    if not pages:
        return
    if keyring is None:
        if all(map(is_encrypted, pages)):
            raise keyfile.lost(environment.parent)
        return
    password = keyring.password
    if not any(opens(page, password) for page in pages):
        key = environment.parent / keyfile.FILE
        raise DamagedStore(
            f"{key} is not the one that the tables are encrypted with: copy KEY from a backup of "
            "this store",
            str(key),
        )


def check_tables(environment: Path, names: tuple[str, ...], keyring: Keyring | None) -> None:
    """Make sure that the tables are encrypted, or not, as the keys are.

    :raises DamagedStore: naming the file of a table that belongs to another store.
    """
    password = None if keyring is None else keyring.password
    for name in names:
        page = first_page(environment / name)
        if not page:
            continue
        if password is None and is_encrypted(page):
            raise keyfile.lost(environment.parent)
        if password is not None and not opens(page, password):
            raise DamagedStore(
                f"{environment / name} is not encrypted with the key of this store: restore a "
                "backup with `atopdb restore`",
                str(environment / name),
            )


def change(folder: Path, keyring: Keyring, secret: Secret) -> None:
    """Let `secret` open the keys from now on, and nothing else; durable on return."""
    check(folder, keyring)
    keyfile.write(folder, keyring.locked(secret))


def _make(folder: Path, secret: Secret) -> Keyring:
    owner = Owner(folder)
    try:
        found = has_key(folder) or (folder / "FORMAT").exists()
        keyring = unlock(folder, secret) if found else None
        if keyring is None:
            if any(folder.glob("environment/*")):
                raise _unlocked(folder)
            keyring = Keyring(os.urandom(_MASTER_BYTES))
            keyfile.write(folder, keyring.locked(secret))
        return keyring
    finally:
        owner.release()


def _unlocked(folder: Path) -> StoreError:
    if any(is_encrypted(first_page(table)) for table in folder.glob("environment/[a-z]*")):
        return keyfile.lost(folder)
    return WrongKey(
        f"{folder} was made without a key: open it without one, or copy it into a new store with "
        "one by `atopdb encrypt`",
        str(folder),
    )


