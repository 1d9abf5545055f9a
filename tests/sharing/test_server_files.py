"""Files of a store at an address: their bytes come and go in chunks, and are compared."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from atop import Item, Store
from atop.engine import messages, wire
from atop.errors import DamagedStore, NoSuchItem, SnapshotTooOld, TransactionLost, ValueRefused
from tests.checking import check_store
from tests.sharing.serving import Here, Raw, until

DATA = bytes(range(256)) * 10_000


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Here]:
    """A server without TLS; the store is verified afterwards."""
    with Here(tmp_path / "s.atop") as server:
        yield server
    with Store(tmp_path / "s.atop") as again:
        check_store(again)


def write(store: Store, data: bytes = DATA) -> Any:
    with store.transaction(), store.newFile("a") as file:
        file.write(data)
    return file


def there(here: Here) -> list[str]:
    """The files in the server's folder."""
    return sorted(os.listdir(here.path / "files"))


def upload(raw: Raw, *chunks: bytes, size: int, sha256: str) -> tuple[str, Any]:
    """Send a file; its name, and what is answered in the end."""
    raw.say(messages.NewFile(10))
    name = wire.body(messages.NewFile, raw.hear().body)
    for number, chunk in enumerate(chunks, 11):
        raw.say(messages.FileData(number, name, chunk))
    raw.say(messages.FileEnd(9, name, size, sha256))
    for _ in chunks:
        raw.hear()
    return name, raw.hear()


def test_the_bytes_are_those_of_the_folder(here: Here) -> None:
    with here.open() as one, here.open() as two, Store(here.path) as local:
        file = write(one)
        for store in (one, two, local):
            with store.getItemByID(file.id).open() as source:
                assert source.read() == DATA
        assert local.getItemByID(file.id).path.read_bytes() == DATA
        assert os.listdir(one.files.folder) == [], "what was sent is not kept here too"


def test_any_part_is_read(here: Here) -> None:
    with here.open() as store:
        file = write(store)
        with file.open() as source:
            assert isinstance(source, io.BufferedReader)
            assert (source.readable(), source.seekable(), source.writable()) == (True, True, False)
            for at, size in ((0, 10), (len(DATA) - 5, 100), (1 << 20, 1 << 20), (3, 0)):
                assert source.seek(at) == at
                assert source.read(size) == DATA[at : at + size]
            assert source.seek(-3, io.SEEK_END) == len(DATA) - 3
            assert source.read() == DATA[-3:]
            assert source.read() == b""
            source.seek(100)
            assert source.seek(50, io.SEEK_CUR) == source.tell() == 150
            assert source.seek(10 * len(DATA)) == 10 * len(DATA)
            assert source.read() == b""
            with pytest.raises(ValueError, match="no place in a file"):
                source.seek(-1)
            source.seek(0)
            assert b"".join(source) == DATA
        with pytest.raises(ValueError, match="closed"):
            source.read()


def test_an_empty_file(here: Here) -> None:
    with here.open() as store:
        file = write(store, b"")
        with file.open() as source:
            assert source.read() == b""


def test_there_is_no_path_here(here: Here) -> None:
    with here.open() as store:
        file = write(store)
        with pytest.raises(ValueRefused, match=r"have no path here: use open\(\)"):
            file.path


def test_an_open_file_can_be_read_after_its_deletion(here: Here) -> None:
    with here.open() as store, here.open() as other:
        file = write(store)
        with file.open() as source:
            assert source.read(10) == DATA[:10]
            with other.transaction():
                other.delete(other.getItemByID(file.id))
            assert there(here) == [str(file.id)]
            assert source.read() == DATA[10:]
        until(lambda: not there(here))


def test_an_open_file_can_be_read_when_the_snapshot_that_found_it_has_ended(here: Here) -> None:
    with here.open() as store, here.open() as other:
        file = write(store)
        with store.snapshot():
            with other.transaction():
                other.delete(other.getItemByID(file.id))
            source = store.getItemByID(file.id).open()
        with source:
            with other.transaction():
                other.add(Item())
            assert source.read() == DATA
        until(lambda: not there(here))


def test_a_snapshot_whose_connection_was_lost_keeps_what_is_deleted_later(here: Here) -> None:
    with here.open() as store, here.open() as other:
        file = write(store)
        with store.snapshot():
            seen = store.getItemByID(file.id)
            with other.transaction():
                other.add(Item())
            store._link.connection.close()  # type: ignore[union-attr]
            assert store.engine.state
            with other.transaction():
                other.delete(other.getItemByID(file.id))
            with other.snapshot(), seen.open() as source:
                assert source.read() == DATA
        until(lambda: not there(here))


def test_a_snapshot_whose_connection_was_lost_tells_of_a_file_that_has_gone(here: Here) -> None:
    with here.open() as store, here.open() as other:
        file = write(store)
        with store.snapshot():
            seen = store.getItemByID(file.id)
            assert seen.size == len(DATA)
            store._link.connection.close()  # type: ignore[union-attr]
            until(lambda: len(here.server.clients) == 1)
            with other.transaction():
                other.delete(other.getItemByID(file.id))
            until(lambda: not there(here))
            with pytest.raises(SnapshotTooOld, match=r"deleted while no snapshot kept it.*begin"):
                seen.open().read()
        with store.snapshot(), pytest.raises(NoSuchItem):
            store.getItemByID(file.id)


def test_a_snapshot_that_was_not_begun_cannot_be_ended(here: Here) -> None:
    with Raw(here.port) as raw:
        raw.greet()
        raw.say(messages.EndSnapshot(0, 7))
        assert "no snapshot of commit 7" in raw.farewell()


def test_a_file_that_is_dropped_is_closed(here: Here) -> None:
    with here.open() as store:
        file = write(store)
        source = file.open()
        source.read(10)
        del source
        with store.transaction():
            store.delete(file)
        until(lambda: not there(here))


@pytest.mark.parametrize(("change", "told"), [
    (lambda data: data[:-1], "ends after"),
    (lambda data: data + b"x", "more than"),
    (lambda data: data[:-1] + b"x", "other bytes"),
])
def test_damage_is_noticed(change: Any, told: str, here: Here) -> None:
    with here.open() as store:
        file = write(store)
        path = here.path / "files" / str(file.id)
        path.write_bytes(change(DATA))
        with pytest.raises(DamagedStore, match=told), file.open() as source:
            source.read()
        path.write_bytes(DATA)


def test_a_file_that_is_gone_is_told(here: Here) -> None:
    with here.open() as store:
        file = write(store)
        path = here.path / "files" / str(file.id)
        path.unlink()
        with pytest.raises(DamagedStore, match=r"no file.*its item is there: restore"), (
            file.open()
        ) as source:
            source.read()
        path.write_bytes(DATA)


def test_what_is_rolled_back_is_nowhere(here: Here) -> None:
    with here.open() as store:
        with pytest.raises(KeyError), store.transaction():
            with store.newFile("a") as file:
                file.write(DATA)
            with file.open() as source:
                assert source.read() == DATA
            raise KeyError
        assert store.engine.state
        assert there(here) == []
        assert os.listdir(store.files.folder) == []


def test_files_of_a_client_that_has_gone_are_removed(here: Here) -> None:
    with Raw(here.port) as raw:
        raw.greet()
        upload(raw, b"abc", size=3, sha256=hashlib.sha256(b"abc").hexdigest())
        raw.say(messages.NewFile(2))
        raw.hear()
        assert len(there(here)) == 2
    until(lambda: not there(here))


def test_chunks_come_in_order_however_many_are_sent_at_once(here: Here) -> None:
    chunks = [os.urandom(10_000) for _ in range(200)]
    data = b"".join(chunks)
    with Raw(here.port) as raw:
        raw.greet()
        name, answer = upload(raw, *chunks, size=len(data),
                              sha256=hashlib.sha256(data).hexdigest())
        assert wire.body(messages.FileEnd, answer.body) is True
        assert (here.path / "files" / name).read_bytes() == data


def test_bytes_that_change_on_the_way_are_refused(here: Here) -> None:
    with Raw(here.port) as raw:
        raw.greet()
        _, answer = upload(raw, b"abd", size=3, sha256=hashlib.sha256(b"abc").hexdigest())
        assert answer.error == "StoreError"
        assert "changed on their way" in answer.message
        assert there(here) == []


def test_much_is_sent_without_filling_the_memory(tmp_path: Path) -> None:
    with Here(tmp_path / "s.atop", buffered=1 << 20) as here, Raw(here.port) as raw:
        raw.greet()
        chunk = bytes(1 << 19)
        digest = hashlib.sha256(chunk * 100).hexdigest()
        _, answer = upload(raw, *[chunk] * 100, size=100 << 19, sha256=digest)
        assert wire.body(messages.FileEnd, answer.body) is True
        (client,) = here.server.clients
        assert client._work.size == 0


def test_a_file_whose_connection_has_gone_is_sent_again(here: Here) -> None:
    with here.open(optimistic=True) as store:
        fails = [True]

        def add() -> None:
            with store.newFile("a") as file:
                file.write(b"hello")
            store.add(Item(file=file))
            if fails.pop():
                fails.append(False)
                store._link.connection.close()  # type: ignore[union-attr]

        store.transact(add)
        (holder,) = [item for item in store.items() if hasattr(item, "file")]
        with holder.file.open() as source:
            assert source.read() == b"hello"
        with pytest.raises(TransactionLost, match="begin it again"):
            fails[:] = [True]
            with store.transaction():
                add()


def test_a_name_that_the_server_has_not_given(here: Here) -> None:
    with Raw(here.port) as raw:
        raw.greet()
        raw.say(messages.FileEnd(2, "../../FORMAT", 0, ""))
        assert "no new file of this client" in raw.farewell()


def test_a_client_in_the_folder_asks_for_names(here: Here) -> None:
    with Store(here.path) as local:
        assert local.folder is None
        with local.transaction(), local.newFile("a") as file:
            file.write(b"hello")
            (name,) = there(here)
            assert name.startswith("new-")
        assert there(here) == [str(file.id)]
        with pytest.raises(KeyError), local.transaction():
            with local.newFile("b") as other:
                other.write(b"hello")
            raise KeyError
        assert there(here) == [str(file.id)]
    with here.open() as store:
        with store.getItemByID(file.id).open() as source:
            assert source.read() == b"hello"
