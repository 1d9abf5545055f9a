"""A store at an address: what its user sees while servers go and come, and others write."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from atop import Item, Store
from atop.engine import history
from atop.engine.address import TcpAddress, parse
from atop.engine.base import CATALOG, Range
from atop.engine.doors import Doors
from atop.engine.remotelink import Access
from atop.engine.upstream import Upstream
from atop.errors import (
    ReadOnlyStore,
    StoreBusy,
    StoreClosed,
    StoreError,
    StoreFailed,
    StoreUnreachable,
    TransactionError,
    TransactionLost,
)
from tests.checking import check_store
from tests.conftest import elsewhere
from tests.sharing.serving import Command, Here, free_port, until


class Unheard(Item):
    """A class of which the store has no item yet."""


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Here]:
    """A server without TLS; the store is verified afterwards."""
    with Here(tmp_path / "s.atop") as server:
        yield server
    with Store(tmp_path / "s.atop") as again:
        check_store(again)


def serve(path: Path, port: int) -> Command:
    return Command(path, "--listen", f"127.0.0.1:{port}", "--insecure-loopback", "--timeout", 3)


def names(store: Store) -> list[str]:
    return [item.name for item in store.pool("people").queryIndex("name")]


def fill(store: Store, *added: str) -> None:
    with store.transaction():
        people = store.pool("people", "name")
        for name in added:
            people.addItem(Item(name=name))


def test_what_one_commits_the_other_sees_at_once(here: Here) -> None:
    with here.open(durable=False) as one, here.open() as two, Store(here.path) as three:
        stores = [one, two, three]
        fill(one)
        for number in range(60):
            writer = stores[number % 3]
            fill(writer, f"{number:03}")
            for store in stores:
                assert names(store)[-1] == f"{number:03}"


def test_all_that_a_store_does(here: Here) -> None:
    with here.open() as store:
        fill(store, "Ann", "Bob")
        with store.transaction():
            with store.newFile("a") as file:
                file.write(b"bytes")
        store.checkpoint()
        assert store.compact().freed >= 0
        assert store.stats().items == 4
        assert store.stats().file_bytes == 5
        report = store.verify()
        assert report.ok
        assert report.files == 1
        with pytest.raises(StoreError, match=r"backed up where its folder is"):
            store.backup(here.path / "copy")


def test_verify_finds_damaged_files(here: Here) -> None:
    with here.open() as store:
        with store.transaction():
            files = []
            for _ in range(4):
                with store.newFile("a") as made:
                    made.write(b"bytes")
                files.append(here.path / "files" / str(made.id))
        files[0].write_bytes(b"bytez")
        files[1].write_bytes(b"byte")
        files[2].write_bytes(b"bytes and more")
        files[3].unlink()
        problems = [problem.damage for problem in store.verify().problems]
        for part in ("other bytes", "ends after 4 of 5", "more than 5 bytes", "no file"):
            assert sum(part in problem for problem in problems) == 1, problems
    for file in files:
        file.write_bytes(b"bytes")


def test_a_unix_socket(here: Here, tmp_path: Path) -> None:
    door = Doors(None, here.path).unix(tmp_path / "sock")
    try:
        server = here.server
        assert server.loop is not None
        asyncio.run_coroutine_threadsafe(server.listen(door.sock, door.admit), server.loop).result()
        url = f"atop+unix://{tmp_path}/sock"
        with Store(url, timeout=3.0) as one, Store(url, timeout=3.0) as two:
            assert repr(one) == f"<Store {url}>"
            for number in range(20):
                fill(one, f"{number:03}")
                assert names(two)[-1] == f"{number:03}"
        with Store(f"atop+unix://{here.path}/socket") as three:
            assert len(names(three)) == 20
    finally:
        door.close()


def test_a_server_that_lets_nobody_write(tmp_path: Path) -> None:
    path = tmp_path / "s.atop"
    with Store(path) as store:
        fill(store, "Ann")
    with Here(path, read_only=True) as here, here.open() as store, Store(path) as local:
        for each in (store, local):
            assert names(each) == ["Ann"]
            with pytest.raises(ReadOnlyStore):
                each.begin()


def test_a_store_that_is_closed(here: Here) -> None:
    store = here.open()
    store.close()
    with pytest.raises(StoreClosed, match=here.url):
        len(store)


def test_reads_go_on_with_the_next_server(tmp_path: Path) -> None:
    path, port = tmp_path / "s.atop", free_port()
    first = serve(path, port)
    with Store(first.url, insecure=True, timeout=20) as store:
        fill(store, "Ann", "Bob")
        ann = store.pool("people").getIndexItem("name", "Ann")
        first.kill()
        seen: list[list[str]] = []
        reader = threading.Thread(target=lambda: seen.append(names(store)))
        reader.start()
        time.sleep(0.3)
        assert not seen
        with serve(path, port):
            reader.join()
            assert seen == [["Ann", "Bob"]]
            assert ann.name == "Ann"
            fill(store, "Carl")
            assert names(store) == ["Ann", "Bob", "Carl"]


def test_a_snapshot_goes_on_with_the_next_server(tmp_path: Path) -> None:
    path, port = tmp_path / "s.atop", free_port()
    first = serve(path, port)
    with Store(first.url, insecure=True, timeout=20) as store:
        fill(store, "Ann")
        with store.snapshot():
            assert names(store) == ["Ann"]
            first.close()
            with serve(path, port):
                with Store(path) as other:
                    fill(other, "Bob")
                assert names(store) == ["Ann"]


def test_a_transaction_that_is_cut_off_is_lost_and_can_be_done_again(tmp_path: Path) -> None:
    path, port = tmp_path / "s.atop", free_port()
    first = serve(path, port)
    with Store(first.url, insecure=True, timeout=20) as store:
        fill(store, "Ann")
        again: list[Command] = []
        with pytest.raises(TransactionLost, match="begin it again"), store.transaction():
            store.pool("people").addItem(Item(name="Bob"))
            first.kill()
            thread = threading.Thread(target=lambda: again.append(serve(path, port)))
            thread.start()
        thread.join()
        with again[0]:
            assert names(store) == ["Ann"]
            fill(store, "Bob")
            assert names(store) == ["Ann", "Bob"]


def test_transact_goes_on_by_itself(tmp_path: Path) -> None:
    path, port = tmp_path / "s.atop", free_port()
    servers = [serve(path, port)]

    def replace() -> None:
        for _ in range(4):
            time.sleep(0.3)
            servers[-1].kill()
            servers.append(serve(path, port))

    try:
        with Store(servers[0].url, insecure=True, timeout=20) as store:
            fill(store, "Ann")

            def add(name: str) -> None:
                store.pool("people").addItem(Item(name=name))

            thread = threading.Thread(target=replace)
            thread.start()
            count = 0
            while thread.is_alive():
                store.transact(add, f"{count:06}")
                count += 1
            thread.join()
            assert names(store) == [*(f"{each:06}" for each in range(count)), "Ann"]
    finally:
        servers[-1].close()


def test_patience_has_an_end(tmp_path: Path) -> None:
    server = serve(tmp_path / "s.atop", free_port())
    with Store(server.url, insecure=True, timeout=2.0) as store:
        fill(store, "Ann")
        server.close()
        for call in (lambda: len(store), lambda: store.begin(), lambda: names(store)):
            began = time.monotonic()
            with pytest.raises(StoreUnreachable, match=r"atop://127.0.0.1"):
                call()
            assert time.monotonic() - began < 4


def test_a_store_that_has_lost_commits_is_noticed(tmp_path: Path) -> None:
    port = free_port()
    server = serve(tmp_path / "s.atop", port)
    with Store(server.url, insecure=True, timeout=10) as store:
        fill(store, "Ann")
        with store.snapshot():
            assert len(store) == 2
        server.close()
        with serve(tmp_path / "another.atop", port):
            with pytest.raises(StoreFailed, match="has lost commits"):
                len(store)


def test_a_second_writer_waits(here: Here) -> None:
    with here.open() as one, here.open(timeout=0.2) as two:
        with one.transaction():
            with pytest.raises(StoreBusy, match=r"process .* has had a transaction open"):
                two.begin()
        with two.transaction():
            two.add(Item())


def test_threads_share_a_connection(here: Here) -> None:
    with here.open(durable=False) as store:
        fill(store)
        failed: list[BaseException] = []

        def work(number: int) -> None:
            try:
                for each in range(10):
                    fill(store, f"{number}-{each}")
                    assert f"{number}-{each}" in names(store)
            except BaseException as error:
                failed.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failed
        assert len(names(store)) == 80
        assert len(here.server.clients) == 1


def test_a_forked_child_has_a_connection_of_its_own(tmp_path: Path) -> None:
    with serve(tmp_path / "s.atop", free_port()) as server:
        with Store(server.url, insecure=True, timeout=5) as store:
            fill(store, "Ann")
            child = os.fork()
            if not child:
                code = 1
                try:
                    fill(store, "Bob")
                    code = 0 if names(store) == ["Ann", "Bob"] else 2
                finally:
                    os._exit(code)
            assert os.waitpid(child, 0)[1] == 0
            assert names(store) == ["Ann", "Bob"]
            fill(store, "Carl")


def test_a_transaction_of_a_client_that_died_holds_nobody_up(here: Here) -> None:
    store = here.open()
    store.begin()
    store.add(Item())
    assert store._link is not None
    elsewhere(lambda: store._link.connection._channel.hang_up())  # type: ignore[union-attr]
    with here.open(timeout=3.0) as other, other.transaction():
        other.add(Item())
    with pytest.raises(TransactionError):
        store.session().transaction.commit()  # type: ignore[union-attr]
    store.close()


def test_a_silent_client_loses_its_turn_when_others_wait(tmp_path: Path) -> None:
    with Here(tmp_path / "s.atop", timeout=0.3) as here:
        with here.open() as silent, here.open(timeout=5.0) as other:
            with pytest.raises(TransactionLost), silent.transaction():
                silent.add(Item(of="silent"))
                with other.transaction():
                    other.add(Item(of="other"))
            assert [item.of for item in silent.items()] == ["other"]


def test_the_status_tells_who_is_there(here: Here) -> None:
    with here.open() as one, here.open(readOnly=True) as two:
        with one.transaction():
            one.add(Item())
            status = here.server.status()
        assert len(two) == 1
        assert "process" in status["turn"]
        assert status["waiting"] == 0
        shown = {client["read_only"]: client for client in status["clients"]}
        assert shown[False]["turn"]
        assert not shown[True]["turn"]
        assert here.server.status()["serial"] == 1
        assert here.server.status()["median_us"] > 0


def test_servers_come_and_go_in_one_process(tmp_path: Path) -> None:
    for _ in range(5):
        with Here(tmp_path / "s.atop") as here, here.open() as store:
            fill(store, "Ann")
    with Store(tmp_path / "s.atop") as store:
        assert names(store) == ["Ann"] * 5


def test_serve_waits_for_those_who_only_read(tmp_path: Path) -> None:
    path = tmp_path / "s.atop"
    with Store(path) as store:
        fill(store, "Ann")
    with Store(path, readOnly=True) as reader:
        assert names(reader) == ["Ann"]
        with Here(path) as here, here.open() as writer:
            fill(writer, "Bob")
            until(lambda: names(reader) == ["Ann", "Bob"])


def test_a_folder_that_is_open_elsewhere_is_not_served(tmp_path: Path) -> None:
    with Store(tmp_path / "s.atop"):
        with pytest.raises(StoreBusy, match="process"):
            Here(tmp_path / "s.atop", timeout=0.2)


def test_classes_are_read_anew_after_a_commit_too_large_to_keep(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = parse(here.url)
    assert isinstance(place, TcpAddress)
    between = Upstream(place, Access(insecure=True), cache_bytes=1 << 20, timeout=5)
    try:
        with here.open() as store:
            with store.transaction():
                store.pool("people", "name")
            known = until(lambda: between.scan(CATALOG, Range())[1])
            monkeypatch.setattr(history, "KEPT_BYTES", 100)
            with store.transaction():
                store.pool("people").addItem(Unheard(name="A" * 200))
            until(lambda: between.serial == store.engine.serial)
            assert len(between.scan(CATALOG, Range())[1]) > len(known)
    finally:
        between.close()
