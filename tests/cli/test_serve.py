"""``serve`` and ``token``: real processes, signals and sockets."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from atop import Item, Store
from atop.engine import wire
from atop.engine.messages import Hello
from atop.engine.tokens import Tokens
from atop.errors import AtopError, StoreError, StorePermission, StoreUnreachable
from tests.checking import check_store
from tests.cli.conftest import Run, command
from tests.sharing.serving import READING, TOKEN, Command, Keys, Raw, free_port, until

# Starts the command as systemd does: descriptors from 3 on, and the number of the process.
LAUNCHER = """if True:
    import os, sys
    given = [int(each) for each in os.environ["GIVEN"].split(",")]
    saved = [os.dup(each) for each in given]
    for at, each in enumerate(saved, 3):
        os.dup2(each, at)
        os.set_inheritable(at, True)
    os.environ["LISTEN_FDS"] = str(len(given))
    os.environ["LISTEN_PID"] = str(os.getpid())
    os.execv(sys.executable, [sys.executable, "-m", "atop", *sys.argv[1:]])
"""


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """Where a store is served; verified afterwards."""
    path = tmp_path / "pim.atop"
    yield path
    with Store(path) as store:
        check_store(store)


def add(store: Store, *names: str) -> None:
    with store.transaction():
        people = store.pool("people", "name")
        for name in names:
            people.addItem(Item(name=name))


def status(where: object, **environment: str) -> Any:
    done = command("serve", "--status", where, "--format", "json", **environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def environment(keys: Keys, token: str = TOKEN) -> dict[str, str]:
    return {"ATOP_TOKEN": token, "ATOP_CA": str(keys.ca)}


# Serving


def test_a_store_is_served_to_this_machine_and_to_others(
    place: Path, keys: Keys, tmp_path: Path
) -> None:
    pid_file = tmp_path / "pid"
    with Command(place, "--listen", "127.0.0.1:0", "--socket", tmp_path / "sock", *keys.options,
                 "--pid-file", pid_file) as served:
        url = served.url
        with (
            Store(url, token=TOKEN, ca=keys.ca) as far, Store(place) as near,
            Store(f"atop+unix://{tmp_path}/sock") as beside,
        ):
            assert near.folder is None, "another process has it"
            for number, store in enumerate((far, near, beside)):
                add(store, str(number))
            for store in (far, near, beside):
                assert [each.name for each in store.pool("people").queryIndex("name")] == [
                    "0", "1", "2"]
        assert pid_file.read_text() == f"{served.process.pid}\n"
        served.signal(signal.SIGTERM)
        assert served.wait() == 0
        assert not pid_file.exists()
        assert not (tmp_path / "sock").exists()
        assert not (place / "socket").exists()
    assert not any(TOKEN in line for line in served.log)


def test_without_a_port_only_the_folder_is_served(place: Path) -> None:
    with Command(place) as served, Store(place) as store:
        add(store, "Ann")
        assert served.log == [served.await_line(f"{place} is served in its folder"),
                              served.await_line("has come from process")]


def test_the_status_and_the_end(place: Path, keys: Keys) -> None:
    with Command(place, "--listen", "127.0.0.1:0", *keys.options) as served:
        with Store(served.url, token=TOKEN, ca=keys.ca) as store:
            add(store, "Ann")
            for where in (place, served.url, f"atop+unix://{place}/socket"):
                told = status(where, **environment(keys))
                assert told["pid"] == served.process.pid
                assert told["serial"] == 1
                assert told["addresses"] == [served.url]
                assert told["median_us"] > 0
                (mine,) = [each for each in told["clients"] if each["pid"] == os.getpid()]
                assert mine["name"].startswith("client 0 (process")
                assert mine["answered"] >= 3
            with store.transaction():
                told = status(place)
                assert "client 0" in told["turn"]
                assert [each["turn"] for each in told["clients"]].count(True) == 1
            shown = command("serve", "--status", place).stdout
            assert "client 0 (process" in shown
            assert "serial" in shown
        refused = command("serve", "--stop", served.url, **environment(keys))
        assert refused.returncode == 1
        assert "on its own machine" in refused.stderr
        done = command("serve", "--stop", place)
        assert done.stdout == f"process {served.process.pid} has ended\n"
        assert served.wait() == 0
    for option in ("--stop", "--status"):
        done = command("serve", option, place)
        assert done.returncode == 1
        assert done.stderr == f"Error: nobody serves {place}\n"


def test_a_program_that_has_the_store_open_is_not_stopped(place: Path) -> None:
    with Store(place) as store:
        add(store, "Ann")
        assert status(place)["pid"] == os.getpid()
        done = command("serve", "--stop", place)
        assert done.returncode == 1
        assert "has the store open for itself" in done.stderr
        assert len(store) == 2


def test_a_store_that_is_open_elsewhere_is_not_served(place: Path) -> None:
    with Store(place):
        done = command("serve", place, "--timeout", 0.3)
        assert done.returncode == 1
        assert f"process {os.getpid()}" in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("options", "told"), [
    (["--listen", "127.0.0.1:0"], "over TCP there is TLS"),
    (["--listen", "127.0.0.1:0", "--tokens", "TOKENS"], "over TCP there is TLS"),
    (["--listen", "127.0.0.1:0", "--tls-cert", "CERT", "--tls-key", "KEY"], "anybody on the net"),
    (["--listen", "127.0.0.1:0", "--tls-cert", "CERT"], "belong together"),
    (["--listen", "0.0.0.0:0", "--insecure-loopback"], "is not only for this machine"),
    (["--listen", "[::]:0", "--insecure-loopback"], "is not only for this machine"),
    (["--listen", "nonsense:x", "--insecure-loopback"], "is no place to listen at"),
    (["--listen", "192.0.2.1:0", "TLS"], "cannot listen at 192.0.2.1:0"),
    (["--tokens", "CERT", "--tls-cert", "CERT", "--tls-key", "KEY"], "open to others"),
    (["--tls-cert", "TOKENS", "--tls-key", "KEY", "--tokens", "TOKENS"], "no certificate in PEM"),
])
def test_what_cannot_be_served(
    options: list[str], told: str, place: Path, keys: Keys
) -> None:
    files: dict[str, list[object]] = {
        "CERT": [keys.cert], "KEY": [keys.key], "TOKENS": [keys.tokens], "TLS": keys.options,
    }
    keys.cert.chmod(0o644)
    words = [word for option in options for word in files.get(option, [option])]
    done = command("serve", place, *words)
    assert done.returncode == 1
    assert told in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", [
    [], ["a", "--upstream", "atop://x"], ["--status"], ["a", "--max-clients", 0],
    ["a", "--log-level", "loud"], ["--upstream", "folder"],
])
def test_wrong_usage(words: list[object], run: Run) -> None:
    assert run("serve", *words).exit_code == 2


def test_a_port_that_somebody_has(place: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
        done = command("serve", place, "--listen", f"127.0.0.1:{port}", "--insecure-loopback")
        assert done.returncode == 1
        assert f"cannot listen at 127.0.0.1:{port}: Address already in use" in done.stderr


def test_several_ports_and_sockets(place: Path, tmp_path: Path) -> None:
    words = ["--listen", "127.0.0.1:0", "--listen", "127.0.0.1:0", "--socket", tmp_path / "a",
             "--socket", tmp_path / "b", "--insecure-loopback"]
    with Command(place, *words) as served:
        until(lambda: len([line for line in served.log if "is served at" in line]) == 4)
        urls = status(place)["addresses"]
        assert len(urls) == 4
        for url in urls:
            with Store(url, insecure=True) as store:
                add(store, url)
        assert status(place)["serial"] == 4


def test_nobody_may_write(place: Path) -> None:
    with Store(place) as store:
        add(store, "Ann")
    with Command(place, "--listen", "127.0.0.1:0", "--insecure-loopback", "--read-only") as served:
        for where, options in ((served.url, {"insecure": True}), (str(place), {})):
            with Store(where, **options) as store:  # type: ignore[arg-type]
                assert len(store) == 2
                with pytest.raises(StoreError, match="may only read"):
                    store.begin()


def test_more_clients_than_there_may_be(place: Path) -> None:
    with Command(place, "--listen", "127.0.0.1:0", "--insecure-loopback",
                 "--max-clients", 2) as served:
        one, two = (Store(served.url, insecure=True) for _ in range(2))
        with pytest.raises(StoreError, match="2 clients already"):
            Store(served.url, insecure=True)
        two.close()
        until(lambda: "has gone" in served.log[-1])
        with Store(served.url, insecure=True) as three:
            assert len(three) == 0
        one.close()


def test_the_log_has_one_line_for_an_event_whatever_clients_send(place: Path) -> None:
    with Command(place, "--listen", "127.0.0.1:0", "--insecure-loopback") as served:
        with Raw(int(served.url.rpartition(":")[2])) as raw:
            raw.sock.sendall(wire.preamble())
            raw.say(Hello(1, 1, "h\nost", "evil\nINFO all is well\x1b[31m"))
            raw.bytes(8)
            raw.hear()
        served.await_line("has gone")
    assert not any(line.startswith("INFO all is well") for line in served.log)
    assert any("evil\\nINFO all is well\\x1b[31m" in line for line in served.log)


def test_the_level_of_the_log(place: Path) -> None:
    with Command(place, "--log-level", "error", wait=False) as served:
        until(lambda: (place / "socket").exists())
        with Store(place) as store:
            add(store, "Ann")
    assert served.log == []


# Signals


def test_who_writes_may_come_to_an_end(place: Path) -> None:
    port = free_port()
    with Command(place, "--listen", f"127.0.0.1:{port}", "--insecure-loopback") as served:
        with Store(served.url, insecure=True, timeout=3.0) as store:
            with store.transaction():
                add(store, "Ann")
                served.signal(signal.SIGTERM)
                served.await_line("is about to end")
                began = time.monotonic()
                with pytest.raises(StoreUnreachable):
                    Store(served.url, insecure=True, timeout=3.0)
                time.sleep(0.2)
                assert served.process.poll() is None
                add(store, "Bob")
            assert served.wait() == 0
            assert time.monotonic() - began < 5
    with Store(place) as store:
        assert [each.name for each in store.pool("people").queryIndex("name")] == ["Ann", "Bob"]


def test_who_begins_to_write_then_is_refused(place: Path) -> None:
    with Command(place, "--listen", "127.0.0.1:0", "--insecure-loopback") as served:
        with (
            Store(served.url, insecure=True, timeout=2.0) as one,
            Store(served.url, insecure=True, timeout=2.0) as two,
        ):
            failed: list[AtopError] = []

            def begin() -> None:
                try:
                    two.begin()
                except AtopError as error:
                    failed.append(error)

            with one.transaction():
                add(one, "Ann")
                served.signal(signal.SIGTERM)
                served.await_line("is about to end")
                thread = threading.Thread(target=begin)
                thread.start()
                time.sleep(0.3)
            assert served.wait() == 0
            thread.join()
            assert len(failed) == 1
            assert isinstance(failed[0], StoreUnreachable)


def test_who_takes_too_long_is_cut_off(place: Path) -> None:
    with Command(place, "--timeout", 0.5, "--listen", "127.0.0.1:0",
                 "--insecure-loopback") as served:
        with Store(served.url, insecure=True, timeout=2.0) as store:
            store.begin()
            add(store, "Ann")
            served.signal(signal.SIGTERM)
            began = time.monotonic()
            assert served.wait() == 0
            assert 0.3 < time.monotonic() - began < 5
            with pytest.raises(AtopError):
                store.session().transaction.commit()  # type: ignore[union-attr]
    with Store(place) as again:
        assert len(again) == 0


def test_a_second_signal_ends_it_at_once(place: Path) -> None:
    with Command(place, "--timeout", 30, "--listen", "127.0.0.1:0",
                 "--insecure-loopback") as served:
        with Store(served.url, insecure=True, timeout=2.0) as store:
            store.begin()
            served.signal(signal.SIGTERM)
            served.await_line("is about to end")
            served.signal(signal.SIGINT)
            assert served.wait(5) == 0


def test_certificates_and_tokens_are_read_again(place: Path, keys: Keys, tmp_path: Path) -> None:
    other = Keys(tmp_path, "other")
    with Command(place, "--listen", "127.0.0.1:0", *keys.options) as served:
        with Store(served.url, token=TOKEN, ca=keys.ca) as old:
            keys.cert.write_bytes(other.cert.read_bytes())
            keys.key.write_bytes(other.key.read_bytes())
            keys.know(TOKEN, "another")
            served.signal(signal.SIGHUP)
            served.await_line("certificates and tokens are read again")
            add(old, "Ann")
            with Store(served.url, token="another", ca=other.ca) as new:
                assert len(new) == 2
            with pytest.raises(StorePermission):
                Store(served.url, token=READING, ca=other.ca)
            keys.cert.write_text("nonsense")
            keys.tokens.unlink()
            served.signal(signal.SIGHUP)
            until(lambda: len([line for line in served.log if "not read again" in line]) == 2)
            with Store(served.url, token="another", ca=other.ca) as new:
                assert len(new) == 2


# systemd


def test_sockets_may_be_passed(place: Path, tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as unix,
    ):
        unix.bind(str(tmp_path / "sock"))
        unix.listen()
        given = [tcp.fileno(), unix.fileno()]
        with Command(place, "--insecure-loopback", fds=given, launcher=LAUNCHER,
                     GIVEN=",".join(map(str, given))) as served:
            urls = [f"atop://127.0.0.1:{tcp.getsockname()[1]}", f"atop+unix://{tmp_path}/sock"]
            for url in urls:
                with Store(url, insecure=True) as store:
                    add(store, url)
            assert status(place)["addresses"] == urls
            served.signal(signal.SIGTERM)
            assert served.wait() == 0
        assert (tmp_path / "sock").exists(), "it is systemd's"


def test_a_port_that_is_passed_needs_tls_too(place: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as tcp:
        served = Command(place, fds=[tcp.fileno()], launcher=LAUNCHER, wait=False,
                         GIVEN=str(tcp.fileno()))
        assert served.wait() == 1
        assert "over TCP there is TLS" in served.log[-1]


def test_what_is_passed_has_to_listen(place: Path) -> None:
    with socket.socket() as sock:
        served = Command(place, fds=[sock.fileno()], launcher=LAUNCHER, wait=False,
                         GIVEN=str(sock.fileno()))
        assert served.wait() == 1
        assert "does not listen for streams" in served.log[-1]


def test_readiness_is_told(place: Path, keys: Keys, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(str(tmp_path / "notify"))
        told.settimeout(20)

        def hear() -> list[str]:
            return told.recv(10_000).decode().split("\n")

        with Command(place, "--listen", "127.0.0.1:0", *keys.options, wait=False,
                     NOTIFY_SOCKET=str(tmp_path / "notify")) as served:
            assert hear()[0] == "READY=1"
            with Store(served.url, token=TOKEN, ca=keys.ca) as store:
                assert len(store) == 0
            served.signal(signal.SIGHUP)
            reloading = hear()
            assert reloading[0] == "RELOADING=1"
            assert reloading[1].startswith("MONOTONIC_USEC=")
            assert hear()[0] == "READY=1"
            served.signal(signal.SIGTERM)
            assert hear()[0] == "STOPPING=1"


def test_a_disk_that_fails_ends_the_server(place: Path) -> None:
    """With exit code 1, so that whoever started it starts it again."""
    code = """if True:
        import sys
        from atop.cli.app import cli
        from atop.engine import log
        def fail(descriptor): raise OSError(5, "Input/output error")
        log.os.fdatasync = log.os.fsync = fail
        cli(sys.argv[1:])
    """
    with Store(place) as store:
        add(store, "Ann")
    served = Command(place, launcher=code, wait=False)
    with suppress(AtopError), Store(place, timeout=2.0) as store:
        add(store, "Bob")
    with suppress(subprocess.TimeoutExpired):
        assert served.wait(10) == 1
        return
    served.kill()
    pytest.fail(f"it goes on: {served.log}")


# Tokens, and verbs that use them


def test_a_token_is_made_and_shown_once(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    made = []
    for name, *options in (["laptop"], ["wall", "--read-only"]):
        done = run("token", name, path, *options)
        assert done.exit_code == 0
        assert done.stdout == ""
        made.append(done.stderr.strip())
    assert path.stat().st_mode & 0o777 == 0o600
    tokens = Tokens(path)
    found = [tokens.check(each) for each in made]
    assert [(each.name, each.read_only) for each in found if each] == [
        ("laptop", False), ("wall", True)]
    assert not any(each in path.read_text() for each in made)


def test_the_line_of_a_token_goes_to_standard_output(run: Run, tmp_path: Path) -> None:
    done = run("token", "laptop")
    path = tmp_path / "tokens"
    path.touch(0o600)
    path.write_text(done.stdout)
    assert Tokens(path).check(done.stderr.strip())
    assert run("token", "a:b").exit_code == 1


def test_verbs_take_addresses(place: Path, keys: Keys, tmp_path: Path) -> None:
    with Store(place) as store:
        add(store, "Ann", "Bob")
        with store.transaction(), store.newFile("a") as file:
            file.write(b"bytes")
    with Command(place, "--listen", "127.0.0.1:0", *keys.options) as served:
        url, known = served.url, environment(keys)
        assert "Ann" in command("query", url, "people", "name", **known).stdout
        assert url in command("info", url, **known).stdout
        assert "people" in command("pools", url, **known).stdout
        assert "bytes" not in command("files", url, **known).stderr
        assert "Ann" in command("get", url, 2, **known).stdout
        assert command("verify", url, **known).stdout.endswith("no damage\n")
        assert command("checkpoint", url, **known).stdout.startswith("log: ")
        assert command("compact", url, **known).stdout.endswith("bytes freed\n")
        done = command("backup", url, tmp_path / "copy", **known)
        assert "is backed up where its folder is" in done.stderr
        token_file = tmp_path / "token"
        token_file.write_text(f"{READING}\n")
        done = command("query", url, "people", "name", ATOP_TOKEN_FILE=str(token_file),
                       ATOP_CA=str(keys.ca))
        assert "Bob" in done.stdout
        done = command("checkpoint", url, **environment(keys, READING))
        assert "may only read" in done.stderr
        done = command("query", url, "people", "name", **environment(keys, "wrong"))
        assert done.returncode == 1
        assert done.stderr.startswith("Error: the server asks for a token")
        script = "store.pool('people').addItem(Item(name='Carl')); commit()"
        subprocess.run(
            [sys.executable, "-m", "atop", "shell", url], input=script, text=True, check=True,
            env={**os.environ, **known},
        )
        assert "Carl" in command("query", url, "people", "name", **known).stdout


# Servers before servers


def test_a_server_before_another(place: Path, keys: Keys) -> None:
    port = free_port()
    words = [place, "--listen", f"127.0.0.1:{port}", *keys.options]
    first = Command(*words)
    try:
        with Store(place) as owner:
            add(owner, "Ann")
            with owner.transaction(), owner.newFile("a") as file:
                file.write(b"bytes")
            with (
                Command("--upstream", first.url, "--listen", "127.0.0.1:0", "--insecure-loopback",
                        ATOP_TOKEN=READING, ATOP_CA=str(keys.ca)) as near,
                Store(near.url, insecure=True, timeout=3.0) as store,
            ):
                people = store.pool("people")
                assert [each.name for each in people.queryIndex("name")] == ["Ann"]
                with store.getItemByID(file.id).open() as source:
                    assert source.read() == b"bytes"
                with pytest.raises(StoreError, match="may only read"):
                    store.begin()
                add(owner, "Bob")
                until(lambda: [each.name for each in people.queryIndex("name")] == ["Ann", "Bob"])
                for number in range(20):
                    add(owner, f"C{number:02}")
                    until(lambda: len(people) == number + 3)  # noqa: B023 - not after the loop
                    assert people.getIndexItem("name", f"C{number:02}")
                assert store.verify().ok
                told = status(near.url, ATOP_INSECURE="1")["upstream"]
                assert told["reachable"]
                assert told["serial"] == owner.engine.serial
                assert told["behind"] == 0

                names = [each.name for each in people.queryIndex("name")]
                owner.close()
                first.close()
                near.await_line("is out of reach")
                with Store(near.url, insecure=True, timeout=3.0) as another:
                    assert [each.name for each in another.pool("people").queryIndex("name")
                            ] == names, "from what it has"
                    began = time.monotonic()
                    with pytest.raises(StoreUnreachable):
                        list(another.items())
                    assert time.monotonic() - began < 2
                told = status(near.url, ATOP_INSECURE="1")["upstream"]
                assert not told["reachable"]
                assert told["out_of_reach_since"]

                first = Command(*words)
                near.await_line("is back after")
                assert len(list(store.items())) == 24
                with Store(place) as owner:
                    add(owner, "Zoe")
                    until(lambda: store.engine.serial == owner.engine.serial)
                    assert len(store) == 25
    finally:
        first.close()


def test_several_servers_before_one(place: Path) -> None:
    with Command(place, "--listen", "127.0.0.1:0", "--insecure-loopback") as first:
        words = ["--upstream", first.url, "--listen", "127.0.0.1:0", "--insecure-loopback"]
        with (
            Command(*words, ATOP_INSECURE="1") as one, Command(*words, ATOP_INSECURE="1") as two,
            Store(place) as owner, Store(one.url, insecure=True) as a,
            Store(two.url, insecure=True) as b,
        ):
            for number in range(30):
                add(owner, f"{number:02}")
                for store in (a, b):
                    with store.snapshot():
                        names = [each.name for each in store.items() if hasattr(each, "name")]
                        assert names[1:] == [f"{each:02}" for each in range(len(names) - 1)]
            until(lambda: a.engine.serial == b.engine.serial == owner.engine.serial)
            assert len(a) == len(b) == 31


def test_an_upstream_that_is_not_there() -> None:
    done = command("serve", "--upstream", f"atop://127.0.0.1:{free_port()}", ATOP_INSECURE="1")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: atop://127.0.0.1")
