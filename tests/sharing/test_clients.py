"""What a client sees and may do: caches, snapshots, files, threads, reading only."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from atop import Store
from atop.engine.base import INDEX
from atop.errors import NoTransaction, ReadOnlyStore, SnapshotTooOld
from tests.sharing.processes import Failed, Other, Thing
from tests.sharing.serving import until

Start = Callable[..., Other]


@pytest.fixture
def owner(other: Start) -> Other:
    """Another process that owns a store with a pool of ten things."""
    made = other()
    made.do(
        "with store.transaction():\n"
        "    things = store.pool('things', 'n')\n"
        "    for n in range(10):\n"
        "        things.addItem(Thing(n=n, tags=[n]))\n"
    )
    return made


@pytest.fixture
def store(path: Path, owner: Other) -> Iterator[Store]:
    """The store as we have it, clients of that process."""
    with Store(path, timeout=5, durable=False) as opened:
        assert opened.folder is None
        yield opened


# What others commit


def test_a_commit_is_seen_at_once_wherever_it_was_made(
    store: Store, owner: Other, other: Start
) -> None:
    third = other()
    things = store.pool("things")
    item = things.getIndexItem("n", 0)
    ident = item.id
    for n in range(1, 21):
        writer, *readers = [(owner, third), (third, owner)][n % 2]
        writer.do(f"with store.transaction(): store.getItemByID({ident}).text = {n}")
        assert store.getItemByID(ident) is item
        assert item.text == n
        for reader in readers:
            assert reader.do(f"answer = store.getItemByID({ident}).text") == n
        with store.transaction():
            assert item.text == n
            item.text = -n
        for reader in (owner, third):
            assert reader.do(f"answer = store.getItemByID({ident}).text") == -n
        with store.snapshot():
            assert item.text == -n


def test_what_was_added_and_deleted_elsewhere_is_in_pages_and_counts(
    store: Store, owner: Other
) -> None:
    things = store.pool("things")
    assert len(things) == 10
    assert [thing.n for thing in things.queryIndex("n")[3:6]] == [3, 4, 5]
    owner.do("with store.transaction():\n"
             "    store.delete(things.getIndexItem('n', 4))\n"
             "    things.addItem(Thing(n=3.5))")
    assert len(things) == 10
    assert [thing.n for thing in things.queryIndex("n")[3:6]] == [3, 3.5, 5]
    assert things.queryIndex("n").position(5) == 5


def test_a_list_that_a_client_holds_gets_what_others_commit(store: Store, owner: Other) -> None:
    item = store.pool("things").getIndexItem("n", 7)
    tags = item.tags
    owner.do("with store.transaction(): things.getIndexItem('n', 7).tags.append('new')")
    assert store.pool("things").getIndexItem("n", 7).tags == [7, "new"]
    assert tags == [7, "new"]
    with pytest.raises(NoTransaction):
        tags.append(1)


def test_a_snapshot_of_a_client_sees_its_moment(store: Store, owner: Other) -> None:
    things = store.pool("things")
    with store.snapshot():
        assert len(things) == 10
        for n in range(5):
            owner.do(f"with store.transaction(): things.addItem(Thing(n={100 + n}))")
            owner.do(f"with store.transaction(): things.getIndexItem('n', {n}).tags = []")
        assert len(things) == 10
        assert [thing.tags for thing in things] == [[n] for n in range(10)]
    assert len(things) == 15
    assert things.getIndexItem("n", 0).tags == []


def test_what_a_large_commit_of_the_owner_changed_is_kept_for_clients(
    store: Store, owner: Other
) -> None:
    owner.do("from atop.engine import bdb; bdb._MANY_KEYS = 10")
    things, before = store.pool("things"), store.engine.serial
    assert len(list(things)) == 10
    owner.do(
        "with store.transaction():\n    for n in range(50): things.addItem(Thing(n=100 + n))"
    )
    assert len(store.engine.changed(before)[INDEX]) == 50, "what is cached can be moved on"
    with store.snapshot():
        owner.do("with store.transaction():\n    for thing in things: thing.n += 1")
        assert [thing.n for thing in things] == [*range(10), *range(100, 150)]


def test_a_snapshot_of_a_client_that_fell_behind_is_told(store: Store, owner: Other) -> None:
    owner.do("from atop.engine import history; history.KEPT_BYTES = 20_000")
    with store.snapshot():
        owner.do(
            "for n in range(10):\n"
            "    with store.transaction(): things.getIndexItem('n', 0).text = str(n) * 10_000"
        )
        with pytest.raises(SnapshotTooOld):
            list(store.items())
    assert len(list(store.items())) == 11


# Files


def test_files_are_written_and_read_by_all(store: Store, owner: Other, other: Start) -> None:
    third = other()
    with store.transaction():
        with store.newFile("a.txt") as file:
            file.write(b"from a client")
        with pytest.raises(Failed, match="NoSuchItem"):
            owner.do(f"store.getItemByID({file.id})")
    read = f"with store.getItemByID({file.id}).open() as file: answer = file.read().decode()"
    assert owner.do(read) == third.do(read) == "from a client"
    ident = owner.do(
        "with store.transaction():\n"
        "    with store.newFile('b') as file: file.write(b'from the owner')\n"
        "answer = file.id"
    )
    with store.getItemByID(ident).open() as source:
        assert source.read() == b"from the owner"


def test_a_file_of_a_client_that_dies_before_its_commit_goes(
    store: Store, owner: Other, other: Start
) -> None:
    third = other()
    third.do(
        "store.begin()\n"
        "file = store.newFile('x')\n"
        "file.__enter__(); file.write(b'x' * 100_000)\n"
        "with store.newFile('y') as other: other.write(b'y')"
    )
    folder = Path(store.files.folder)
    assert len(list(folder.iterdir())) == 2
    third.kill()
    with store.transaction():
        store.add(Thing())
    assert owner.do("answer = len(store)") == 12
    assert list(folder.iterdir()) == []


def test_a_deleted_file_stays_for_a_snapshot_in_another_process(
    store: Store, owner: Other, other: Start
) -> None:
    with store.transaction():
        with store.newFile("a.txt") as file:
            file.write(b"kept")
    where = file.path
    third = other()
    third.do(
        f"moment = store.snapshot(); moment.__enter__()\nfile = store.getItemByID({file.id})"
    )
    with store.transaction():
        store.delete(file)
    owner.do("with store.transaction(): things.addItem(Thing(n=99))")
    assert where.exists()
    assert third.do("answer = file.open().read().decode()") == "kept"
    third.do("moment.__exit__(None, None, None)")
    assert owner.do("answer = len(store)") == 12
    until(lambda: not where.exists(), lambda: "nobody may read it any more")


@pytest.mark.parametrize("end", [Other.end, Other.kill])
def test_a_deleted_file_stays_for_a_snapshot_when_the_owner_goes(
    store: Store, owner: Other, other: Start, end: Callable[[Other], None]
) -> None:
    with store.transaction():
        with store.newFile("a.txt") as file:
            file.write(b"kept")
    where, ident = file.path, file.id
    third = other()
    with store.snapshot():
        owner.do(f"with store.transaction(): store.delete(store.getItemByID({ident}))")
        assert where.exists()
        end(owner)
        third.do("with store.transaction(): store.add(Thing())")
        assert third.owns
        with store.getItemByID(ident).open() as source:
            assert source.read() == b"kept"
    third.do("with store.transaction(): store.add(Thing())")
    assert not where.exists()


@pytest.mark.parametrize("end", [Other.end, Other.kill])
def test_a_deleted_file_goes_when_who_had_a_snapshot_has_gone(
    store: Store, owner: Other, other: Start, end: Callable[[Other], None]
) -> None:
    with store.transaction():
        with store.newFile("a.txt") as file:
            file.write(b"gone")
    where = file.path
    third = other()
    third.do("moment = store.snapshot(); moment.__enter__()")
    with store.transaction():
        store.delete(file)
    assert where.exists()
    end(owner)
    assert len(store) == 11
    assert where.exists()
    third.kill()
    with store.transaction():
        store.add(Thing())
    assert not where.exists()


def until_gone(path: Path) -> None:
    until(lambda: not path.exists())


BEGIN = "moment = store.snapshot(); moment.__enter__()"
END = "moment.__exit__(None, None, None)"


def test_deleted_files_go_though_snapshots_of_processes_always_overlap(
    store: Store, owner: Other, other: Start
) -> None:
    files = []
    with store.transaction():
        for n in range(6):
            with store.newFile(f"{n}.txt") as file:
                file.write(b"%d" % n)
            files.append((n, file.id, file.path))
    third = other()
    readers = [third, owner, third, owner, third, owner]
    readers[0].do(BEGIN)
    for (n, ident, where), older, newer in zip(files, readers, [*readers[1:], third], strict=True):
        with store.transaction():
            store.delete(store.getItemByID(ident))
        newer.do(BEGIN)
        with store.transaction():
            store.add(Thing())
        assert older.do(f"answer = store.getItemByID({ident}).open().read().decode()") == str(n)
        older.do(END)
        until_gone(where)
    third.do(END)


def test_a_deleted_file_goes_when_the_only_process_that_sees_it_is_killed(
    store: Store, other: Start
) -> None:
    with store.transaction():
        with store.newFile("a.txt") as file:
            file.write(b"gone")
    where = file.path
    third = other()
    third.do(BEGIN)
    with store.transaction():
        store.delete(file)
    with store.snapshot():
        assert where.exists()
        third.kill()
        until(lambda: not where.exists())


def test_a_deleted_file_stays_for_who_reads_and_has_let_a_writer_in(
    path: Path, other: Start
) -> None:
    with Store(path) as made, made.transaction(), made.newFile("a.txt") as file:
        file.write(b"kept")
    with Store(path, readOnly=True, timeout=5) as reader:
        assert reader.folder is not None
        with reader.snapshot():
            seen = reader.getItemByID(file.id)
            where = seen.path
            writer = other()
            writer.do(f"with store.transaction(): store.delete(store.getItemByID({file.id}))")
            with seen.open() as source:
                assert source.read() == b"kept"
            writer.do("with store.transaction(): store.add(Thing())")
            assert where.exists()
        writer.do("with store.transaction(): store.add(Thing())")
        assert not where.exists()


def test_a_deleted_file_stays_though_somebody_tidies_the_locks_away(
    store: Store, other: Start
) -> None:
    with store.transaction():
        with store.newFile("a.txt") as file:
            file.write(b"kept")
    where = file.path
    with store.snapshot():
        (where.parents[1] / "serial").unlink()
        other().do(f"with store.transaction(): store.delete(store.getItemByID({file.id}))")
        with store.getItemByID(file.id).open() as source:
            assert source.read() == b"kept"
    until(lambda: not where.exists())


# Threads


def test_threads_of_a_client_share_its_connection(store: Store, owner: Other) -> None:
    ids = [thing.id for thing in store.pool("things")]
    wrong: list[object] = []

    def work(mine: int) -> None:
        try:
            for _ in range(30):
                with store.transaction():
                    store.getItemByID(ids[mine]).n += 100
                with store.snapshot():
                    found = sorted(thing.n % 100 for thing in store.pool("things"))
                if found != list(range(10)):
                    wrong.append(found)
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(mine,)) for mine in range(6)]
    for thread in threads:
        thread.start()
    owner.do(
        "for n in range(30):\n"
        "    with store.transaction(): things.getIndexItem('n', 9).text = n"
    )
    for thread in threads:
        thread.join(60)
    assert not wrong, wrong[:3]
    assert sorted(thing.n for thing in store.pool("things")) == [
        6, 7, 8, 9, *(3000 + n for n in range(6))
    ]


def test_threads_of_a_client_go_on_together_when_the_owner_dies(
    store: Store, owner: Other
) -> None:
    ids = [thing.id for thing in store.pool("things")]
    wrong: list[object] = []
    half = threading.Barrier(5)

    def work(mine: int) -> None:
        def more() -> None:
            store.getItemByID(ids[mine]).n += 100

        try:
            for n in range(40):
                if n == 20:
                    half.wait(30)
                store.transact(more)
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(mine,)) for mine in range(4)]
    for thread in threads:
        thread.start()
    half.wait(30)
    owner.kill()
    for thread in threads:
        thread.join(60)
    assert not wrong, wrong[:3]
    assert store.folder is not None
    assert sorted(thing.n for thing in store.pool("things"))[6:] == [4000 + n for n in range(4)]


# Reading only


def test_a_client_that_only_reads_cannot_write(path: Path, owner: Other) -> None:
    with Store(path, readOnly=True) as store:
        assert store.folder is None
        assert len(store.pool("things")) == 10
        for write in (store.begin, store.checkpoint, store.compact):
            with pytest.raises(ReadOnlyStore, match="readOnly=True"):
                write()
        with pytest.raises(ReadOnlyStore):
            store.engine.writer(1)
        with pytest.raises(ReadOnlyStore):
            store.pool("things").getIndexItem("n", 1).n = 5
        owner.do("with store.transaction(): things.addItem(Thing(n=77))")
        assert len(store.pool("things")) == 11
        with store.snapshot():
            assert store.verify().ok


def test_who_reads_lets_a_writer_in_and_sees_what_it_writes(path: Path, other: Start) -> None:
    with Store(path) as made, made.transaction():
        made.pool("things", "n")
    before = sorted(each.name for each in path.iterdir())
    with Store(path, readOnly=True) as reader:
        assert reader.folder is not None
        assert sorted(each.name for each in path.iterdir()) == before
        writer = other()
        assert writer.owns
        writer.do("with store.transaction(): store.pool('things').addItem(Thing(n=1))")
        assert [thing.n for thing in reader.pool("things")] == [1]
        assert reader.folder is None
        writer.end()
        assert [thing.n for thing in reader.pool("things")] == [1]
        assert not (path / "wanted").exists()


def test_many_who_only_read_let_writers_in(path: Path, other: Start) -> None:
    with Store(path) as made, made.transaction():
        made.pool("things", "n")
    readers = [other(readOnly=True) for _ in range(4)]
    writers = [other() for _ in range(2)]
    for writer in writers:
        writer.do("with store.transaction(): store.pool('things').addItem(Thing(n=1))")
    assert [reader.do("answer = len(store.pool('things'))") for reader in readers] == [2] * 4
    for writer in writers:
        writer.kill()
    assert [reader.do("answer = len(store.pool('things'))") for reader in readers] == [2] * 4


def test_opening_for_writing_what_this_process_reads(path: Path, other: Start) -> None:
    with Store(path) as made, made.transaction():
        made.pool("things", "n")
    with Store(path, readOnly=True) as reader, Store(path) as writer:
        with writer.transaction():
            writer.pool("things").addItem(Thing(n=1))
        assert len(reader.pool("things")) == 1
        with pytest.raises(ReadOnlyStore):
            reader.begin()
        assert other().do("answer = len(store.pool('things'))") == 1


# Care


def test_a_client_takes_care_of_the_store(store: Store, owner: Other, tmp_path: Path) -> None:
    store.checkpoint()
    assert store.compact().freed >= 0
    assert store.verify().ok
    assert store.stats().items == 11
    assert store.stats().table_bytes > 0
    store.backup(tmp_path / "copy.atop")
    with Store(tmp_path / "copy.atop") as copy:
        assert len(copy.pool("things")) == 10
