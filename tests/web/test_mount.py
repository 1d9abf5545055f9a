"""Mounted in another application, behind a proxy, and as the guide says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from atop import Index, Item, Store
from atop.web import app
from atop.web.asked import FILTERS
from tests.web.asking import Reader

GUIDE = (Path(__file__).parents[2] / "doc" / "browsing.rst").read_text("utf-8")


@pytest.fixture
def store() -> Iterator[Store]:
    with Store() as store:
        with store.transaction():
            people = store.pool("people", Index("name"), "born", "city")
            for at, name in enumerate(("Ann", "Bob", "Carl", "Dora")):
                people.addItem(Item(name=name, born=date(1984 - 5 * at, 5, 6), city="Paris"))
            store.pool("a/b", "name").addItem(Item(name="inside"))
        yield store


def mounted(store: Store, *below: str, **options: Any) -> Reader:
    """A reader of the store's browser, which is mounted below these paths."""
    reader = Reader(store)
    inner: Any = app(store, **{"token": "", **options})
    for path in reversed(below):
        inner = Starlette(routes=[Mount(path, inner)])
    reader.app = inner
    return reader


@pytest.mark.parametrize("below", [("/data",), ("/my", "/data"), ("/pools",), ("/my data",)])
def test_every_link_of_a_mounted_browser_leads_into_it(
    store: Store, below: tuple[str, ...]
) -> None:
    reader, root = mounted(store, *below), "".join(below).replace(" ", "%20")
    seen, left = set[str](), [f"{root}/"]
    while left and len(seen) < 150:
        place = left.pop(0)
        answer = reader.get(place, status=None)
        assert answer.status_code == 200, place
        seen.add(place)
        if "html" in answer.headers.get("content-type", ""):
            found = re.findall(r'(?:href|src|data-url)="(/[^"]*)"', reader.unescape(answer.text))
            assert [link for link in found if not link.startswith(f"{root}/")] == []
            forms = re.findall(r'action="(/[^"]*)"', answer.text)
            assert [link for link in forms if not link.startswith(f"{root}/")] == []
            left += [link for link in found if link not in seen and link not in left]
    assert f"{root}/pools/a%2Fb" in {place.partition("?")[0] for place in seen}
    assert len(seen) > 30


def test_forms_of_a_mounted_browser_lead_back_into_it(store: Store) -> None:
    reader = mounted(store, "/data")
    page = reader.text("/data/pools/people/position?key=C")
    assert "Carl" in page
    ident = store.pool("people").queryIndex("name").first().id
    found = dict(re.findall(r'name="(form_key|mark)" value="([^"]+)"',
                            reader.text(f"/data/items/{ident}")))
    answer = reader.send("POST", f"/data/items/{ident}/edit",
                         data={**found, "name": "name", "kind": "str", "text": "Zoë"})
    assert answer.headers["location"] == f"/data/items/{ident}"
    undo = reader.send("POST", "/data/undo", data={**found, "back": "/pools/people?row=2"})
    assert undo.headers["location"] == "/data/pools/people?row=2"
    assert store.getItemByID(ident).name == "Ann"


@pytest.mark.parametrize("back", [
    "//evil.example", "https://evil.example/", "/\\evil.example", "javascript:alert(1)", "",
    "/\t/evil.example", "\\\\evil.example",
])
def test_no_way_back_leads_elsewhere(store: Store, back: str) -> None:
    for root, reader in (("", Reader(store)), ("/data", mounted(store, "/data"))):
        ident = store.pool("people").queryIndex("name").first().id
        found = dict(re.findall(r'name="(form_key|mark)" value="([^"]+)"',
                                reader.text(f"{root}/items/{ident}")))
        reader.send("POST", f"{root}/items/{ident}/edit",
                    data={**found, "name": "name", "kind": "str", "text": "Zoë"})
        answer = reader.send("POST", f"{root}/undo", data={**found, "back": back})
        place = answer.headers["location"]
        assert re.fullmatch(rf"{root}/[^/\\\s]*", place), place


def test_the_cookie_of_a_mounted_browser_is_for_it_alone(store: Store) -> None:
    reader = mounted(store, "/data", token="t" * 20)
    reader.get("/data/", status=403)
    answer = reader.get(f"/data//pools/people?token={'t' * 20}&row=2", follow=False)
    assert answer.headers["location"].startswith("/data/pools/people?row=2")
    assert "path=/data;" in answer.headers["set-cookie"].lower().replace("; ", ";") + ";"
    assert "Bob" in reader.text("/data/pools/people?row=2")


def test_the_examples_of_the_guide_are_answered(store: Store) -> None:
    examples = re.findall(r"^    (/\S+)$", GUIDE, re.MULTILINE)
    assert len(examples) >= 8
    for example in examples:
        answer = Reader(store).get(example)
        assert re.search("Ann|Bob|Carl|row", answer.text), example


def test_the_guide_tells_every_parameter_filter_and_address(store: Store) -> None:
    reader = Reader(store)
    told = reader.get("/pools/people?zz=1", status=400).text
    known = re.findall(r"\w+", re.sub(r"&#\d+;", "", told).partition("there are")[2]
                       .partition("and filters")[0])
    assert len(known) >= 11
    for name in (*known, *FILTERS, "all", "brief"):
        assert re.search(rf"^``{name}`` ", GUIDE, re.MULTILINE), name
    ident = store.pool("people").queryIndex("name").first().id
    for place in re.findall(r"^``(/\S*)`` ", GUIDE, re.MULTILINE):
        if "FILE" not in place and "/files/" not in place:
            place = place.replace("NAME", "people").replace("ID", str(ident))
            query = {"position": "?key=A", "value": "?name=name"}.get(place.rpartition("/")[2], "")
            assert reader.get(place + query).status_code == 200
