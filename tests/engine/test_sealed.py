"""Files of an encrypted store: any byte that was changed, moved, added or lost is found."""

from __future__ import annotations

import hashlib
import io
import random
import re
from pathlib import Path

import pytest
from berkeleydb import db

from atop.engine.keyring import Keyring, Secret
from atop.engine.pagecipher import checksum_key, mac, opens
from atop.engine.sealed import CHUNK, Sealer, Unsealed, derive, plain_size, sealed_length
from atop.errors import DamagedStore, ValueRefused

KEY = bytes(range(32))
SIZES = [0, 1, 15, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 5]
DOCUMENT = Path(__file__).parents[2] / "doc" / "format.rst"


def sealed(data: bytes, *, parts: int = 1, key: bytes = KEY) -> bytes:
    sealer = Sealer(key)
    step = max(1, -(-len(data) // parts))
    written = [piece for at in range(0, len(data), step) for piece in sealer.seal(data[at:][:step])]
    written += sealer.end(len(data), hashlib.sha256(data).hexdigest())
    return b"".join(written)


def unsealed(path: Path, key: bytes = KEY, size: int | None = None, sha256: str = "") -> bytes:
    stream = Unsealed(path.open("rb", buffering=0), key, str(path), size, sha256)
    with io.BufferedReader(stream, CHUNK) as file:
        return file.read()


def refuses(path: Path, data: bytes, **expected: object) -> str:
    path.write_bytes(data)
    with pytest.raises(DamagedStore) as caught:
        unsealed(path, **expected)  # type: ignore[arg-type]
    assert str(path) in str(caught.value), "the file is named"
    return str(caught.value)


def documented(heading: str) -> bytes:
    text = DOCUMENT.read_text("utf-8").partition(f"\n{heading}\n")[2].partition("::\n\n")[2]
    return bytes.fromhex("".join(re.findall(r"^    ([0-9a-f]+)", text.partition("\n\n")[0], re.M)))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("parts", [1, 7])
def test_what_is_sealed_comes_back(tmp_path: Path, size: int, parts: int) -> None:
    data = random.Random(size).randbytes(size)
    written = sealed(data, parts=parts)
    assert len(written) == sealed_length(size)
    assert plain_size(len(written)) == size
    (tmp_path / "file").write_bytes(written)
    assert unsealed(tmp_path / "file", size=size, sha256=hashlib.sha256(data).hexdigest()) == data


def test_any_part_is_read_without_the_rest(tmp_path: Path) -> None:
    data = random.Random(1).randbytes(3 * CHUNK + 77)
    path, dice = tmp_path / "file", random.Random(2)
    path.write_bytes(sealed(data))
    with io.BufferedReader(Unsealed(path.open("rb", buffering=0), KEY, "file"), CHUNK) as file:
        for _ in range(200):
            at, size = dice.randrange(len(data) + 10), dice.randrange(CHUNK + 100)
            assert file.seek(at) == file.tell() == at
            assert file.read(size) == data[at : at + size]
        assert file.seek(-7, io.SEEK_END) == len(data) - 7
        assert file.read() == data[-7:]
        with pytest.raises(ValueError, match="no place"):
            file.seek(-1)
    with pytest.raises(ValueError, match="closed"):
        file.read(1)


def test_nothing_of_a_file_can_be_read_in_it(tmp_path: Path) -> None:
    data = b"the secret " * 20_000
    one, two = sealed(data), sealed(data)
    assert b"secret" not in one
    assert one[46:] != two[46:], "equal files cannot be told to be equal"


def test_each_byte_that_is_changed_is_found(tmp_path: Path) -> None:
    written = sealed(b"hello, world")
    for at in range(len(written)):
        refuses(tmp_path / "file", written[:at] + bytes([written[at] ^ 1]) + written[at + 1 :])


def test_a_file_that_was_cut_or_has_grown_is_found(tmp_path: Path) -> None:
    written = sealed(b"x" * (2 * CHUNK + 9))
    end, chunk = written[-56:], CHUNK + 16
    cuts = [0, 1, 45, 46, 46 + chunk, 46 + chunk + 56, len(written) - 56, len(written) - 1]
    for at in cuts:
        refuses(tmp_path / "file", written[:at])
    refuses(tmp_path / "file", written[: 46 + chunk] + end)
    refuses(tmp_path / "file", written + b"\0")
    refuses(tmp_path / "file", written + end)


def test_chunks_that_have_changed_places_are_found(tmp_path: Path) -> None:
    chunk = CHUNK + 16
    one, two = sealed(b"x" * (2 * CHUNK)), sealed(b"y" * (2 * CHUNK))
    swapped = one[:46] + one[46 + chunk : 46 + 2 * chunk] + one[46 : 46 + chunk] + one[-56:]
    refuses(tmp_path / "file", swapped)
    refuses(tmp_path / "file", one[: 46 + chunk] + two[46 + chunk :])
    refuses(tmp_path / "file", one[:46] + two[46:])


def test_another_file_in_its_place_is_found_when_it_is_opened(tmp_path: Path) -> None:
    expected = {"size": 3, "sha256": hashlib.sha256(b"one").hexdigest()}
    assert "another file" in refuses(tmp_path / "file", sealed(b"two"), **expected)
    assert "another file" in refuses(tmp_path / "file", sealed(b"long"), **expected)
    refuses(tmp_path / "file", b"one", **expected)
    refuses(tmp_path / "file", sealed(b"one", key=b"another key" * 3), **expected)


@pytest.mark.parametrize("length", [0, 101, 102 + 16, 102 + 2 * CHUNK])
def test_a_length_that_no_sealed_file_has_is_told(length: int) -> None:
    assert plain_size(length) is None or sealed_length(plain_size(length) or 0) == length


def test_a_sealed_file_is_what_the_document_shows(tmp_path: Path) -> None:
    sealer = Sealer(KEY, salt=bytes(32))
    written = [*sealer.seal(b"hello"), *sealer.end(5, hashlib.sha256(b"hello").hexdigest())]
    assert b"".join(written) == documented("Files of an encrypted store")
    (tmp_path / "file").write_bytes(documented("Files of an encrypted store"))
    assert unsealed(tmp_path / "file") == b"hello"


@pytest.mark.parametrize("secret", [b"k" * 32, "a passphrase"])
def test_the_file_KEY_is_what_the_document_shows(secret: str | bytes) -> None:
    kind = "hkdf" if isinstance(secret, bytes) else "scrypt:17:8:1"
    line = Keyring(KEY)._locked(Secret(secret), kind, bytes(16), bytes(12))
    shown = DOCUMENT.read_text("utf-8").partition("\nThe file KEY\n")[2]
    assert line.strip() in " ".join(shown.split()).replace("\\ ", "")


def test_keys_for_different_uses_are_different() -> None:
    keyring = Keyring(KEY)
    made = [keyring.ident.hex(), keyring.password, keyring.files.hex(), KEY.hex()]
    assert not any(one.startswith(other) for one in made for other in made if one is not other)
    assert Keyring(bytes(32)).password != keyring.password
    assert derive(KEY, b"one") != derive(KEY, b"two")


@pytest.mark.parametrize("key", ["", b"", b"short", b"k" * 31, 7, None, ["k" * 32]])
def test_what_is_no_key_is_refused_and_not_shown(key: object) -> None:
    with pytest.raises(ValueRefused) as caught:
        Secret(key)  # type: ignore[arg-type]
    assert "short" not in str(caught.value), "the key is not shown"


def test_letters_that_look_the_same_are_the_same_key() -> None:
    made, typed = "Caf\u00e9", "Cafe\u0301"
    salt = bytes(16)
    assert Secret(made).stretched("scrypt:4:1:1", salt) == Secret(typed).stretched(
        "scrypt:4:1:1", salt
    )


def test_a_password_of_a_table_is_known_before_the_library_looks(tmp_path: Path) -> None:
    """The library's own hash, which is not quite SHA-1, is computed as it does."""
    environment = db.DBEnv()
    password = Keyring(KEY).password
    environment.set_encrypt(password, db.DB_ENCRYPT_AES)
    environment.open(str(tmp_path), db.DB_CREATE | db.DB_PRIVATE | db.DB_INIT_MPOOL)
    table = db.DB(environment)
    table.set_flags(db.DB_ENCRYPT)
    table.set_pagesize(4096)
    table.open("table", dbtype=db.DB_BTREE, flags=db.DB_CREATE)
    table.put(b"key", b"value")
    table.close()
    environment.close()
    data = (tmp_path / "table").read_bytes()
    assert opens(data, password)
    assert not opens(data, password[:-1] + "x")
    assert not opens(data[:511], password)
    assert not opens(bytes(4096), password)
    page = data[4096:8192]
    summed = page[:28] + bytes(20) + page[48:]
    assert mac(checksum_key(password), summed) == page[28:48], "and its checksums"
