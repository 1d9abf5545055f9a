"""``atopdb browse`` and the demo: real processes, signals and sockets."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from atop import Index, Item, Store
from atop.cli.app import cli
from atop.cli.browse import _PORT
from tests.checking import check_store
from tests.cli.conftest import command
from tests.sharing.serving import TOKEN, Command, Keys, until
from tests.web.browsing import PATIENCE, ROOT, Browsing

DIES = """if True:
    import sys, time
    from atop import Store
    with Store(sys.argv[1]) as store:
        store.pool("people")
        print("owned", flush=True)
        time.sleep(600)
"""
WITHOUT_STARLETTE = """if True:
    import runpy, sys
    sys.modules["starlette"] = None
    sys.argv[0] = "atopdb"
    runpy.run_module("atop", run_name="__main__")
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with more rows than fit into the buffers of a connection."""
    path = tmp_path_factory.mktemp("large") / "pim.atop"
    fill(path, 3000, "x" * 4000)
    return path


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A small store, verified afterwards."""
    path = tmp_path / "pim.atop"
    fill(path, 20, "")
    yield path
    with Store(path) as store:
        check_store(store)


def fill(path: Path, many: int, note: str) -> None:
    with Store(path) as store, store.transaction():
        people = store.pool("people", Index("name"))
        for number in range(many):
            people.addItem(Item(name=f"Ann {number:04}", note=note))


def rename(browsing: Browsing, ident: int, name: str) -> httpx.Response:
    """Send the form that gives an item another name."""
    fields = browsing.form(f"items/{ident}")
    return browsing.client.post(f"items/{ident}/edit", data={
        "form_key": fields["form_key"], "mark": fields["mark"], "name": "name", "kind": "str",
        "text": name,
    })  # fmt: skip


def test_the_link_that_is_printed_lets_in_and_nothing_else_does(place: Path) -> None:
    with Browsing(place) as browsing:
        assert len(browsing.link.partition("?token=")[2]) >= 32
        assert "Ann 0007" in browsing.get("pools/people").text
        stranger = httpx.get(str(browsing.client.base_url))
        assert stranger.status_code == 403
        assert "people" not in stranger.text
        assert browsing.end() == 0
        assert "Traceback" not in "\n".join(browsing.output)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_at_once_also_while_somebody_downloads(large: Path, number: int) -> None:
    with Browsing(large) as browsing, browsing.client.stream("GET", "pools/people.csv") as answer:
        chunks = answer.iter_raw(1000)
        next(chunks)
        begun = time.monotonic()
        assert browsing.end(number) == 0
        assert time.monotonic() - begun < 10
        with pytest.raises(httpx.TransportError):  # not the end of the file: cut short
            list(chunks)
        assert "Traceback" not in "\n".join(browsing.output)
    with Store(large) as store:  # closed in order: nothing to recover, and nobody owns it
        assert len(store.pool("people")) == 3000


def test_the_next_free_port_is_taken_unless_one_is_named(place: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = command("browse", place, "--no-open", "--port", port)
        assert done.returncode == 1
        assert f"port {port}" in done.stderr
        assert "--port" in done.stderr
    usual = ("atop", "browse", "--no-open")
    with Browsing(place, program=usual) as one, Browsing(place, program=usual) as other:
        ports = [browsing.client.base_url.port or 0 for browsing in (one, other)]
        assert ports[0] != ports[1]
        assert all(_PORT <= port < _PORT + 20 for port in ports)
        assert one.get("pools/people").text.count("Ann 00") >= 20


@pytest.mark.parametrize("words", [
    ("--host", "0.0.0.0", "--token", ""), ("--host", "::", "--token", ""),
    ("--host", "some.name", "--token", ""),
])
def test_everybody_is_let_in_from_this_machine_only(place: Path, words: tuple[str, ...]) -> None:
    done = command("browse", place, "--no-open", *words)
    assert done.returncode == 2
    assert "without a token everybody" in done.stderr


@pytest.mark.parametrize("prefix", [
    "data?x", "javascript:alert", "ftp://example.org/", "/a/../b", "/a\nb", "//evil.example/x",
])
def test_a_prefix_that_is_none_is_refused(place: Path, prefix: str) -> None:
    done = command("browse", place, "--no-open", "--url-prefix", prefix)
    assert done.returncode == 2
    assert "--url-prefix is a path such as /data" in done.stderr


@pytest.mark.parametrize("left_on", [True, False])
def test_behind_a_proxy_every_link_has_the_prefix(place: Path, left_on: bool) -> None:
    with Browsing(place, "--token", "t" * 20, "--url-prefix", "https://db.example/my/data",
                  enter=False) as browsing:
        assert browsing.link == f"https://db.example/my/data/?token={'t' * 20}"
        here = until(lambda: next((line.split()[-1] for line in browsing.output
                                   if "a proxy that asks" in line), ""))
        base = f"{here}{'/my/data' if left_on else ''}"
        headers = {"host": "db.example", "x-forwarded-proto": "https"}
        with httpx.Client(headers=headers) as client:
            answer = client.get(f"{base}/pools/people?token={'t' * 20}&row=3")
            assert answer.headers["location"] == "/my/data/pools/people?row=3"
            cookie = answer.headers["set-cookie"]
            assert "Path=/my/data;" in cookie
            assert "Secure" in cookie
            headers = {"cookie": cookie.partition(";")[0]}
            page = client.get(f"{base}/pools/people", headers=headers).text
            links = re.findall(r'(?:href|src|action|data-url)="(/[^"]*)"', page)
            assert len(links) > 20
            assert [link for link in links if not link.startswith("/my/data/")] == []
            style = next(link for link in links if "atop.css" in link)
            path = style if left_on else style.removeprefix("/my/data")
            assert client.get(f"{here}{path}", headers=headers).status_code == 200


def test_a_store_that_others_use_is_shown_and_changed_with_them(place: Path) -> None:
    with Store(place) as store:
        person = store.pool("people").queryIndex("name").first()
        with Browsing(place) as browsing:
            assert rename(browsing, person.id, "Zoë").status_code == 303
            assert store.getItemByID(person.id).name == "Zoë"
            with store.transaction():
                person.name = "Aaron"
            assert "Aaron" in browsing.get("pools/people").text


def test_when_the_owner_of_the_store_is_killed_browsing_goes_on(place: Path) -> None:
    owner = subprocess.Popen([sys.executable, "-c", DIES, str(place)], cwd=ROOT, text=True,
                             stdout=subprocess.PIPE)
    assert owner.stdout is not None
    try:
        assert owner.stdout.readline() == "owned\n"
        with Browsing(place) as browsing:
            seen = browsing.get("pools/people.json").json()
            owner.kill()
            owner.wait()
            end = time.monotonic() + PATIENCE
            while True:
                answer = browsing.get(f"pools/people.json?at={seen['commit']}")
                assert answer.status_code in {200, 410, 503}, answer.text
                if answer.status_code == 200 or time.monotonic() > end:
                    break
                assert answer.json()["next"]  # in words, with what to do now
            assert answer.json()["rows"] == seen["rows"]
            ident = seen["rows"][0]["id"]
            assert rename(browsing, ident, "Zoë").status_code == 303
    finally:
        owner.kill()
        owner.wait()
        owner.stdout.close()


def test_a_store_on_a_server_is_shown(place: Path, tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    with Command(place, "--listen", "127.0.0.1:0", *keys.options,
                 ATOP_TOKEN=TOKEN) as served, \
            Browsing(served.url, ATOP_TOKEN=TOKEN, ATOP_CA=str(keys.ca)) as browsing:
        assert "Ann 0007" in browsing.get("pools/people").text
        served.kill()
        answer = browsing.get("pools/people")
        assert answer.status_code in {200, 503}
        assert "Traceback" not in answer.text


def test_with_read_only_there_is_nothing_to_change_anything_with(place: Path) -> None:
    with Browsing(place, "--read-only") as browsing:
        ident = browsing.get("pools/people.json").json()["rows"][0]["id"]
        assert "<form method=\"post\"" not in browsing.get(f"items/{ident}").text
        answer = browsing.client.post(f"items/{ident}/edit", data={"name": "name"})
        assert answer.status_code in {404, 405}


def test_an_encrypted_store_is_shown_to_whoever_has_its_key(tmp_path: Path) -> None:
    with Store(tmp_path / "secret.atop", key="a passphrase") as store, store.transaction():
        store.pool("people", "name").addItem(Item(name="Ann"))
    done = command("browse", tmp_path / "secret.atop", "--no-open", ATOP_KEY="another")
    assert done.returncode == 1
    assert "key" in done.stderr
    assert "Traceback" not in done.stderr
    with Browsing(tmp_path / "secret.atop", ATOP_KEY="a passphrase") as browsing:
        assert "Ann" in browsing.get("pools/people").text


def test_a_token_from_the_environment_is_on_no_command_line(place: Path) -> None:
    with Browsing(place, ATOP_BROWSE_TOKEN="from the environment") as browsing:
        assert browsing.link.endswith("?token=from%20the%20environment")
        words = Path(f"/proc/{browsing.process.pid}/cmdline")
        if words.exists():
            assert b"environment" not in words.read_bytes()


def test_without_the_extra_it_says_what_to_install(place: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_STARLETTE, "browse", str(place), "--no-open"],
        capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 1
    assert "pip install 'atopdb[web]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_place_without_a_store_says_so(tmp_path: Path) -> None:
    done = command("browse", tmp_path / "none", "--no-open")
    assert done.returncode == 1
    assert "there is no store" in done.stderr


def test_every_option_is_told_by_the_help_and_the_guide() -> None:
    guide = (ROOT / "doc" / "browsing.rst").read_text("utf-8")
    told = command("browse", "--help").stdout
    for parameter in cli.commands["browse"].params:
        for option in parameter.opts:
            if option.startswith("--") and option != "--help":
                assert option in told
                assert f"``{option}" in guide
    assert "ATOP_BROWSE_TOKEN" in told


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_demo_ends_by_showing_its_store(tmp_path: Path, number: int) -> None:
    with Browsing("demo", "--browse", "--store", tmp_path / "pim.atop",
                  program=("examples.pim",)) as browsing:
        assert "mail" in browsing.get("").text
        assert browsing.end(number) == 0
        assert "Traceback" not in "\n".join(browsing.output)
    with Store(tmp_path / "pim.atop") as store:
        check_store(store)
