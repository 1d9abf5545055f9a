"""Nobody gets in by another way, and a page of another site can do nothing."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from atop import Item, Store
from tests.web.asking import Reader

TOKEN = "t" * 32


@pytest.fixture
def guarded() -> Iterator[Reader]:
    with Store() as store:
        with store.transaction():
            store.pool("notes", "title").addItem(Item(title="<script>window.evil = 1</script>"))
        yield Reader(store, token=TOKEN)


def test_without_the_token_there_is_nothing_to_see(guarded: Reader) -> None:
    for place in ("/", "/pools/notes", "/pools/notes.csv", "/items/2", "/commit.json",
                  "/static/atop.css", "/?token=wrong", "/?token="):
        answer = guarded.get(place, status=403)
        assert "notes" not in answer.text
        assert TOKEN not in answer.text


def test_the_token_is_exchanged_for_a_cookie_and_leaves_the_address(guarded: Reader) -> None:
    answer = guarded.get(f"/pools/notes?index=title&token={TOKEN}", follow=False)
    assert answer.status_code == 303
    assert answer.headers["location"] == "/pools/notes?index=title"
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert TOKEN not in cookie
    assert "notes" in guarded.text("/pools/notes?index=title")


def test_the_way_back_from_the_token_never_leads_to_another_host(guarded: Reader) -> None:
    answer = guarded.get(f"//evil.example/?token={TOKEN}", follow=False)
    assert not answer.headers.get("location", "").startswith("//")


@pytest.mark.parametrize(("host", "known"), [
    ("localhost", True), ("LOCALHOST:8765", True), ("127.0.0.1:8765", True), ("[::1]:80", True),
    ("192.168.1.7", True), ("my.name", True),
    ("evil.example", False), ("localhost.evil.example:8765", False), ("", False),
    ("127.0.0.1.evil.example", False),
])
def test_only_names_that_are_ours_are_answered(host: str, known: bool) -> None:
    with Store() as store:
        reader = Reader(store, hosts=["my.name"])
        answer = reader.get("/", status=None, headers={"host": host})
        assert answer.status_code == (200 if known else 421)


@pytest.mark.parametrize("headers", [
    {"origin": "http://evil.example"},
    {"origin": "null"},
    {"origin": "http://localhost:1"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site", "origin": "http://localhost"},
])
def test_a_form_of_another_site_changes_nothing(headers: dict[str, str]) -> None:
    with Store() as store:
        with store.transaction():
            ident = store.add(Item(name="mine")).id
        reader = Reader(store)
        fields = {"mark": reader.mark(ident), "name": "name", "kind": "str", "text": "theirs"}
        fields["form_key"] = reader.form_key(f"/items/{ident}")
        answer = reader.send("POST", f"/items/{ident}/edit", data=fields, headers=headers)
        assert answer.status_code == 403
        assert store.getItemByID(ident).name == "mine"


def test_pages_run_no_script_but_ours_and_are_in_no_frame(guarded: Reader) -> None:
    guarded.get(f"/?token={TOKEN}")
    for place in ("/", "/pools/notes", "/items/2", "/nowhere", "/pools/notes.json"):
        answer = guarded.get(place, status=None)
        policy = answer.headers["content-security-policy"]
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy
        assert "default-src 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert "<script>window" not in answer.text or place.endswith(".json")
        assert " style=" not in answer.text
        assert " onclick=" not in answer.text


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "OPTIONS"])
def test_other_methods_do_nothing(method: str) -> None:
    with Store() as store:
        assert Reader(store).send(method, "/").status_code == 405


@pytest.mark.parametrize("place", [
    "/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py", "/static//etc/passwd",
])
def test_no_file_beside_the_static_ones_is_given_out(place: str) -> None:
    with Store() as store:
        answer = Reader(store).get(place, status=None)
        assert answer.status_code == 404
        assert "import" not in answer.text


def test_two_browsers_have_different_tokens_and_form_keys() -> None:
    with Store() as one, Store() as two:
        first, second = Reader(one, token=None), Reader(two, token=None)
        assert first.app.token != second.app.token
        assert len(first.app.token) >= 32
        first.get(f"/?token={first.app.token}")
        second.cookies = httpx.Cookies(first.cookies)
        second.get("/", status=403)
