"""Opening a store that others open, have or have left: at one moment, after a crash, anywhere."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from atop import Store
from atop.errors import StoreBusy, StorePermission
from tests.conftest import run_child, start_child
from tests.sharing.processes import Other, Thing

Start = Callable[..., Other]

COUNT = """
import os, sys
from atop import Store
from tests.sharing.processes import Thing
sys.stdin.readline()
store = Store(sys.argv[1], timeout=20, durable=False)
def count():
    pool = store.pool("counters", "name")
    counter = pool.queryIndex("name", key="n").first()
    if counter is None:
        counter = Thing(name="n", n=0)
        pool.addItem(counter)
    counter.n += 1
for n in range(5):
    store.transact(count)
{end}
"""


def opened_together(path: Path, ends: list[str]) -> None:
    """Let a process for each of `ends` open the store, all at the same moment."""
    children = [start_child(COUNT.format(end=end), str(path)) for end in ends]
    for child in children:
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()
    for child, end in zip(children, ends, strict=True):
        _, problems = child.communicate(timeout=60)
        assert child.returncode == (-signal.SIGKILL if "kill" in end else 0), problems


@pytest.mark.parametrize("existing", [False, True])
def test_twenty_processes_that_open_a_store_at_once_share_it(path: Path, existing: bool) -> None:
    if existing:
        Store(path).close()
    opened_together(path, ["store.close()"] * 20)
    with Store(path) as store:
        assert store.pool("counters").getIndexItem("name", "n").n == 100
        assert store.folder is not None
        assert not store.folder.recovered


def test_twenty_processes_that_open_a_store_while_its_owners_are_killed(path: Path) -> None:
    kill = "os.kill(os.getpid(), 9)"
    opened_together(path, [kill if n % 3 == 0 else "store.close()" for n in range(20)])
    with Store(path) as store:
        assert store.pool("counters").getIndexItem("name", "n").n == 100


def test_a_store_that_is_opened_and_closed_over_and_over_beside_others(
    path: Path, other: Start
) -> None:
    with Store(path, durable=False) as store, store.transaction():
        store.add(Thing(n=0))
    client = other()
    client.start(
        "for n in range(60):\n"
        "    def more(): store.getItemByID(1).n += 1\n"
        "    store.transact(more)\n"
        "    time.sleep(0.005)"
    )
    again = other()
    again.start(
        "for n in range(30):\n"
        "    store.close()\n"
        "    store = Store(path, durable=False)\n"
        "    def more(): store.getItemByID(1).n += 1\n"
        "    store.transact(more)\n"
    )
    for _ in range(30):
        with Store(path, durable=False) as store:
            store.transact(lambda: setattr(store.getItemByID(1), "n", store.getItemByID(1).n + 1))
    client.answer()
    again.answer()
    assert client.do("answer = store.getItemByID(1).n") == 120


# Where a store may be


def test_a_folder_with_a_long_path_is_shared(tmp_path: Path) -> None:
    path = tmp_path / ("long " * 30) / ("x" * 200) / "s.atop"
    path.parent.mkdir(parents=True)
    with Store(path) as store, store.transaction():
        store.add(Thing(n=1))
    one, two = Other(path), Other(path)
    try:
        assert one.owns
        assert not two.owns
        two.do("with store.transaction(): store.getItemByID(1).n = 2")
        assert one.do("answer = store.getItemByID(1).n") == 2
        one.kill()
        assert two.do("answer = store.getItemByID(1).n") == 2
    finally:
        one.end()
        two.end()


def test_a_socket_that_a_dead_process_left_is_replaced(path: Path, other: Start) -> None:
    dead = other()
    dead.do("with store.transaction(): store.add(Thing(n=1))")
    dead.kill()
    assert (path / "socket").is_socket()
    (path / ".socket-left").mkdir()
    with Store(path) as store:
        assert not (path / ".socket-left").exists()
        assert store.folder is not None
        assert other().do("answer = len(store)") == 1
    assert not (path / "socket").exists()


def test_a_socket_of_somebody_else_is_no_way_to_a_store(path: Path) -> None:
    """Something that listens there, and is not the owner, has no lock: it is replaced or told."""
    Store(path).close()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path / "socket"))
    listener.listen()
    try:
        with Store(path, timeout=0.1) as store, store.transaction():
            store.add(Thing(n=1))
    finally:
        listener.close()
        (path / "socket").unlink(missing_ok=True)


def test_where_there_can_be_no_socket_a_second_process_is_told_who_has_the_store(
    path: Path, other: Start
) -> None:
    path.mkdir()
    (path / "socket").mkdir()
    owner = other()
    owner.do("with store.transaction(): store.add(Thing(n=1))")
    began = time.monotonic()
    with pytest.raises(StoreBusy, match=f"in use: process {owner.pid}") as caught:
        Store(path, timeout=0.1)
    assert caught.value.pid == owner.pid
    assert time.monotonic() - began < 5
    assert (path / "socket").is_dir()
    owner.end()
    with Store(path, timeout=0.1) as store:
        assert len(store) == 1


# Other users


AS = """
import os, sys
path, uid, gid, readonly = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "True"
from atop import File, Store
from atop.engine import joined, server
from atop.errors import AtopError
os.setgroups([])
os.setgid(gid)
os.setuid(uid)
try:
    with Store(path, readOnly=readonly, timeout=0.5) as store:
        found = len(store)
        if not readonly:
            with store.transaction():
                with store.newFile("mine") as file:
                    file.write(b"mine")
        for file in store.items(File):
            with file.open() as source:
                found = f"{found} {source.read().decode()}"
        print(f"read {found}")
except AtopError as error:
    print(type(error).__name__, error)
"""
SOMEBODY, GROUP = 54321, 54322


@pytest.fixture
def public(tmp_path: Path) -> Iterator[Path]:
    """A store of two things in a folder that every user may look into; root has it open."""
    if os.geteuid() != 0:
        pytest.skip("only root can be somebody else")
    place = Path(subprocess.check_output(["mktemp", "-d"], text=True).strip())
    place.chmod(0o755)
    with Store(place / "s.atop", durable=False) as store:
        with store.transaction():
            store.add(Thing(n=0))
            store.add(Thing(n=1))
        yield place / "s.atop"
        assert store.verify().ok
    subprocess.run(["rm", "-rf", str(place)], check=True)


def as_somebody(path: Path, group: int = SOMEBODY, *, read_only: bool = False) -> str:
    return run_child(AS, str(path), str(SOMEBODY), str(group), str(read_only))


@pytest.mark.parametrize("mode", [0o700, 0o755, 0o750])
def test_another_user_is_refused(public: Path, mode: int) -> None:
    public.chmod(mode)
    os.chown(public, -1, GROUP)
    for read_only in (False, True):
        told = as_somebody(public, GROUP, read_only=read_only)
        assert told.startswith("StorePermission"), told
        assert str(public) in told


def test_the_group_of_the_folder_is_let_in_by_the_owner(path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can be somebody else")
    place = Path(subprocess.check_output(["mktemp", "-d"], text=True).strip())
    try:
        place.chmod(0o755)
        store_path = place / "s.atop"
        Store(store_path).close()
        os.chown(store_path, -1, GROUP)
        store_path.chmod(0o770)
        with Store(store_path, durable=False) as store:
            with store.transaction(), store.newFile("ours") as file:
                file.write(b"ours")
            assert as_somebody(store_path, GROUP) == "read 1 ours mine\n"
            assert as_somebody(store_path, GROUP, read_only=True) == "read 2 ours mine\n"
            assert len(store) == 2
            assert store.verify().ok
            modes = {stat.S_IMODE(each.stat().st_mode) for each in (store_path / "files").iterdir()}
            assert modes == {0o640}, "nobody changes what is committed"
            assert as_somebody(store_path).startswith("StorePermission")
        assert as_somebody(store_path, GROUP).startswith("StorePermission"), "it cannot own it"
    finally:
        subprocess.run(["rm", "-rf", str(place)], check=True)


def test_who_owns_the_folder_may_use_it_through_root(public: Path) -> None:
    os.chown(public, SOMEBODY, SOMEBODY)
    told = as_somebody(public)
    assert told.startswith(("read 2", "StorePermission")), told


def test_a_store_that_another_user_has_open_is_not_trusted(path: Path) -> None:
    """Root's programs do not talk to somebody else's process, whatever folder it has taken."""
    if os.geteuid() != 0:
        pytest.skip("only root can be somebody else")
    place = Path(subprocess.check_output(["mktemp", "-d"], text=True).strip())
    place.chmod(0o777)
    code = AS.replace("found = len(store)", "print('open', flush=True); sys.stdin.readline()\n"
                      "        found = 0")
    child = start_child(code, str(place / "s.atop"), str(SOMEBODY), str(SOMEBODY), "False")
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "open\n"
        (place / "s.atop").chmod(0o755)
        os.chown(place / "s.atop", 0, 0)
        with pytest.raises(StorePermission, match=f"process {child.pid} of another user"):
            Store(place / "s.atop", timeout=0.5)
        os.chown(place / "s.atop", SOMEBODY, SOMEBODY)
        with Store(place / "s.atop", timeout=0.5) as store:
            assert store.folder is None
            assert len(store) == 0
    finally:
        child.communicate("\n", timeout=30)
        subprocess.run(["rm", "-rf", str(place)], check=True)


# Forks


FORK = """
import os, sys, warnings
warnings.simplefilter("ignore")
from atop import Store
from atop.errors import TransactionLost
from tests.sharing.processes import Thing
store = Store(sys.argv[1], timeout=10)
with store.transaction():
    mine = store.add(Thing(n=0, tags=[]))
def fork():
    child = os.fork()
    if child:
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, "the child failed"
    return child == 0
"""


@pytest.mark.parametrize("owned", [True, False])
def test_a_forked_child_uses_the_store_beside_its_parent(
    path: Path, other: Start, owned: bool
) -> None:
    owner = None if owned else other()
    script = FORK + """
thread_before = store.getItemByID(mine.id)
if fork():
    assert store.folder is None
    assert store.getItemByID(mine.id) is mine
    with store.transaction():
        mine.n += 1
        mine.tags.append("child")
        with store.newFile("a") as file:
            file.write(b"from a child")
    store.close()
    os._exit(0)
assert store.getItemByID(mine.id) is mine
assert (mine.n, mine.tags) == (1, ["child"])
with store.transaction():
    mine.n += 1
print(len(store), mine.n, store.folder is not None)
store.close()
"""
    assert run_child(script, str(path)) == f"2 2 {owned}\n"
    if owner is not None:
        assert owner.do("answer = len(store)") == 2


@pytest.mark.parametrize("owned", [True, False])
def test_a_transaction_that_was_open_at_a_fork_is_the_parents(
    path: Path, other: Start, owned: bool
) -> None:
    owner = None if owned else other()
    script = FORK + """
try:
    with store.transaction():
        mine.n = 7
        new = store.add(Thing(n=9))
        if fork():
            try:
                store.pool("any", "n")
            except TransactionLost:
                pass
            else:
                os._exit(1)
            raise TransactionLost("as the child learns at its commit")
except TransactionLost:
    assert (mine.n, new.store) == (0, None), (mine.n, new.store)
    assert store.getItemByID(mine.id).n == 0
    os._exit(0)
assert mine.n == 7
print(len(store))
store.close()
"""
    assert run_child(script, str(path)) == "2\n"
    if owner is not None:
        assert owner.do("answer = [len(store), store.getItemByID(1).n]") == [2, 7]


def test_forked_workers_write_side_by_side(path: Path) -> None:
    script = FORK + """
children = []
def more():
    store.getItemByID(mine.id).n += 1
for worker in range(5):
    child = os.fork()
    if not child:
        for n in range(20):
            store.transact(more)
        os._exit(0)
    children.append(child)
for n in range(20):
    store.transact(more)
for child in children:
    assert os.waitpid(child, 0)[1] == 0
print(store.getItemByID(mine.id).n)
"""
    assert run_child(script, str(path)) == "120\n"
    with Store(path) as store:
        assert store.verify().ok


def test_a_fork_while_threads_read_and_write(path: Path) -> None:
    script = FORK + """
import threading
stop = threading.Event()
def work():
    while not stop.is_set():
        with store.transaction():
            store.getItemByID(mine.id).n += 1
        len(store)
threads = [threading.Thread(target=work) for _ in range(3)]
for thread in threads:
    thread.start()
children = []
for n in range(10):
    child = os.fork()
    if not child:
        before = len(store)
        with store.transaction():
            store.add(Thing(n=n))
        assert len(store) > before
        os._exit(0)
    children.append(child)
for child in children:
    assert os.waitpid(child, 0)[1] == 0
stop.set()
for thread in threads:
    thread.join()
print(len(store))
"""
    assert run_child(script, str(path)) == "11\n"
    with Store(path) as store:
        assert store.verify().ok


def test_a_worker_pool_that_forks_uses_the_store(path: Path) -> None:
    script = FORK + """
import multiprocessing
def work(n):
    with store.transaction():
        return store.add(Thing(n=n)).n
with multiprocessing.get_context("fork").Pool(3) as pool:
    print(sorted(pool.map(work, range(10))))
print(len(store))
"""
    assert run_child(script, str(path)) == "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]\n11\n"


def test_a_program_that_ends_closes_its_store_in_order_with_clients(
    path: Path, other: Start
) -> None:
    script = (
        "import sys\nfrom atop import Store\n"
        "store = Store(sys.argv[1])\nprint('open', flush=True)\nsys.stdin.readline()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "open\n"
        client = other()
        client.do("with store.transaction(): store.add(Thing(n=1))")
        program.communicate("\n", timeout=30)
        assert program.returncode == 0
    assert client.do("answer = [len(store), store.folder.recovered]") == [1, False]


def test_closing_while_clients_are_at_work_loses_nothing(path: Path, other: Start) -> None:
    with Store(path, durable=False) as store, store.transaction():
        store.add(Thing(n=0))
    clients: list[Other] = []
    for _ in range(10):
        with Store(path) as store:
            assert store.folder is not None or clients
            clients.append(other())
            clients[-1].start(
                "def more(): store.getItemByID(1).n += 1\n"
                "for n in range(10): store.transact(more)"
            )
    for client in clients:
        client.answer()
    assert clients[0].do("answer = store.getItemByID(1).n") == 100
