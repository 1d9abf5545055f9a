"""Whatever is stored or asked for, there is a page which says in words what is the matter."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from atop import Index, Item, Store
from atop.errors import StoreClosed
from atop.web.asjson import CUT, dumped, jsonable
from atop.web.asked import Asked
from atop.web.export import Export
from tests.web.asking import Reader

HTML = "</script><b onmouseover=x>\"'&{{7*7}}\u202eevil\u200b/%2f?#..\x00"
HALF = "half \ud800 a pair"
POOLS = [HTML, HALF, "a/b", "..", ".", "x.json", "a.csv", "%2f", "\u202e", " ", "name?x=1#y",
         "items"]
FILES = ["../../etc/passwd", HTML, "a\r\nSet-Cookie: x=1.txt", '"; filename=evil.html', HALF]


_APART = re.compile(r'<(bdi|option|title|textarea)\b[^>]*>.*?</\1>|"[^"]*"', re.DOTALL)


def odd_values() -> dict[str, dict[str, Any]]:
    """Attributes of items that are hard to show, each under a name for it."""
    itself: list[Any] = [1]
    itself.append(itself)
    deep: dict[str, Any] = {}
    for _ in range(300):
        deep = {"x": deep}
    doubled: list[Any] = []
    for _ in range(16):
        doubled = [doubled, doubled]
    return {
        "half characters": {"text": HALF, "more": [HALF, {HALF: HALF}]},
        "no numbers": {"a": float("nan"), "b": float("inf"), "c": [float("nan")]},
        "names of methods": {"items": [1], "values": 2, "keys": 3, "get": 4, "class": 5, "kind": 6},
        "a list in itself": {"list": itself},
        "nested": {"deep": deep},
        "doubled": {"list": doubled},
        "huge numbers": {"n": 10**6000, "m": -(1 << 200_000), "c": complex(1, 2)},
        "strange keys": {"d": {1: 2, None: 3, ("a",): b"x", b"k": HALF, 1 << 99_999: 1}},
        "many attributes": {f"c{number}": number for number in range(10_000)},
        "html": {HTML: HTML, "file": None},
        "sets": {"s": {1, "a", None}, "f": frozenset([b"x"])},
        "long": {"long": "x" * 300_000, "bytes": bytes(300_000), "list": [1] * 30_000},
        "lists": {"tags": ["a", "b", "c"]},
    }


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    with Store() as store:
        with store.transaction():
            odd = store.pool("odd", "name", Index("tags", multiple=True))
            for name, attributes in odd_values().items():
                odd.addItem(Item(name=name, **attributes))
            odd.addItem(Item(x=1))
            for name in POOLS:
                store.pool(name, "name").addItem(Item(name=HTML))
            for name in FILES:
                with store.newFile(name) as file:
                    file.write(b"<script>alert(1)</script>")
        yield Reader(store)


def looked_at(reader: Reader, place: str) -> str:
    """The page at a place, which is neither broken nor lets anything through as HTML."""
    answer = reader.get(place, status=None)
    assert answer.status_code < 500, f"{place}: {answer.text[-500:]}"
    if answer.headers.get("content-type", "").startswith("text/html"):
        assert "<b onmouseover" not in answer.text
        assert "&amp;49" not in answer.text
        assert "\u202e" not in _APART.sub("", answer.text), "what turns text does so to others"
    if "json" in answer.headers.get("content-type", "") and answer.status_code == 200:
        for line in answer.text.splitlines() if ".ndjson" in place else [answer.text]:
            json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    return answer.text


@pytest.mark.parametrize("name", list(odd_values()))
def test_every_item_is_shown_in_all_its_forms(reader: Reader, name: str) -> None:
    rows = reader.get(f"/pools/odd.json?index=name&from={quote(name)}&limit=1&columns=id").json()
    ident = rows["rows"][0]["id"]
    for suffix in ("", ".json", "/edit", "/delete"):
        assert looked_at(reader, f"/items/{ident}{suffix}")
    attributes = list(odd_values()[name])[:5]
    for attribute in attributes:
        asked = quote(attribute.encode("utf-8", "surrogatepass"))
        looked_at(reader, f"/items/{ident}/value?name={asked}")
        looked_at(reader, f"/items/{ident}/edit?name={asked}")
    asked = f"index=name&from={quote(name)}&to={quote(name)}"
    for suffix in ("", ".json", ".csv", ".ndjson"):
        looked_at(reader, f"/pools/odd{suffix}?{asked}&all=1")
    looked_at(reader, f"/pools/odd.json?{asked}&brief=1")
    for kind in ("is", "not", "contains", "in", "empty", "filled"):
        for attribute in attributes:
            column = quote(attribute.encode("utf-8", "surrogatepass"))
            looked_at(reader, f"/pools/odd?{asked}&{column}__{kind}=1")


def test_every_pool_is_reached_from_the_home_page(reader: Reader) -> None:
    page = reader.text("/")
    links = set(re.findall(r'href="(/pools/[^"?]+)"', page))
    assert len(links) == len(POOLS) + 1
    for link in links:
        for suffix in ("", ".json", ".csv", ".ndjson"):
            assert reader.get(link + suffix, status=200).text
            looked_at(reader, link + suffix)


def test_no_name_of_a_file_gets_out_of_its_header(reader: Reader) -> None:
    links = re.findall(r'href="(/files/\d+)"', reader.text("/files"))
    assert len(set(links)) == len(FILES)
    for link in set(links):
        answer = reader.get(link)
        assert answer.headers["content-disposition"].startswith("attachment; filename*=utf-8''")
        assert re.fullmatch(r"[\w.%~-]*", answer.headers["content-disposition"].partition("''")[2])
        assert "set-cookie" not in answer.headers
        assert "html" not in reader.get(f"{link}?show=1").headers["content-type"]
        looked_at(reader, f"{link}.json")


@pytest.mark.parametrize("asked", [
    "index=nope", "zz=1", "row=0", "row=-1", "row=9223372036854775807", "row=%EF%BC%91",
    "row=99999999999999999999", "limit=1000000", "limit=0", "from=%00", "to=%FF", "at=99999",
    "at=0", "after=99999999999", "facets=nope", "facets=tags,name", "index=tags&tags__is=a",
    "index=tags&from=b&to=a", "name__in=,,,", "columns=id,c1__x", "columns=%2C%5C", "prefix=%00",
    "s__is=a", "d__is=1", "n__is=5", "m__not=3", "deep__contains=x", "list__is=1",
    pytest.param("columns=" + ",".join(f"c{at}" for at in range(200)), id="200 columns"),
    pytest.param("columns=" + ",".join(f"c{at}" for at in range(300)), id="300 columns"),
    pytest.param("&".join(["name__contains=x"] * 2000), id="2000 filters"),
    pytest.param("from=" + "x" * 60_000, id="a long key"),
    pytest.param("n__is=" + "9" * 50_000, id="a long number"),
])  # fmt: skip
def test_whatever_a_table_is_asked_for_it_answers_in_words(reader: Reader, asked: str) -> None:
    for suffix in ("", ".json", ".csv"):
        looked_at(reader, f"/pools/odd{suffix}?{asked}")


@pytest.mark.parametrize("place", [
    "/pools/odd/position?key=", "/pools/odd/position?key=%23", "/pools/odd/position?key=%230",
    "/pools/odd/position.json?key=%ED%A0%80", "/pools/odd/position?key=%00",
    "/pools/odd/filter", "/pools/odd/filter?column=x&kind=zz", "/pools/none", "/pools/", "/pools",
    "/items/", "/items/x", "/items/-1", "/items/99999999999999999999", "/items/1e5",
    "/items/9223372036854775808", "/items/18446744073709551615", "/items/%31", "/items/%ff",
    "/files/1", "/files/x", "/files?after=x", "/files?after=9223372036854775807",
    "/files?after=9999999999999999999", "/items/2?after=9999999999999999999", "/items/2?at=x",
    "/items/2/value", "/items/2/value?name=", "/nowhere.json", "/static/", "//", "/%00",
    "/pools/%ff", "/pools/%ED%A0%81", "/pools/odd.xml",
])  # fmt: skip
def test_an_address_of_nothing_leads_back(reader: Reader, place: str) -> None:
    text = looked_at(reader, place)
    answer = reader.get(place, status=None)
    if answer.status_code >= 400:
        assert 'href="/"' in text or answer.json()["next"]


def test_a_wrong_key_takes_no_moment_from_those_who_look_at_it(reader: Reader) -> None:
    """What is asked for wrongly at an old commit leaves that commit to others."""
    seen = reader.get("/pools/odd.json").json()
    with reader.store.transaction():
        reader.store.pool("odd").queryIndex("name").first().x = 2
    kept = reader.app.moments._kept[seen["commit"]]
    reader.get(f"/pools/odd?index=nope&at={seen['commit']}", status=404)
    reader.get(f"/pools/odd?facets=nope&at={seen['commit']}", status=404)
    assert reader.app.moments._kept[seen["commit"]] is kept
    assert reader.get(f"/pools/odd.json?at={seen['commit']}").json()["rows"] == seen["rows"]


def test_json_of_what_has_no_end_is_bounded() -> None:
    itself: list[Any] = []
    itself += [itself, itself]
    assert jsonable([[1, 2]] * 3) == [[1, 2]] * 3
    assert len(jsonable([1] * 100_000)) == 100_000
    assert CUT in dumped(jsonable(itself))
    assert len(dumped(jsonable(itself))) < 1_000_000
    assert jsonable({"a": [1 << 70, 0.5, None]}) == {"a": [1 << 70, 0.5, None]}


def test_a_form_that_is_too_large_is_refused_in_words(reader: Reader) -> None:
    key = reader.form_key("/items/2")
    for fields in ({"text": "x" * (5 << 20)}, {f"f{at}": "x" for at in range(100)}):
        for files in (None, {"file": ("a.txt", b"x")}):
            answer = reader.send("POST", "/items/2/edit", files=files,
                                 data={"form_key": key, **fields})
            assert answer.status_code == 413
            assert "attach it" in answer.text


@pytest.mark.parametrize("hosts", [
    ["localhost", "evil.example"], ["evil.example", "localhost"], ["localhost", "localhost"],
    ["user@localhost"], ["localhost."], ["localhost:80:80"], ["[::1"], ["127.0.0.1,evil.example"],
    ["127.1"], ["0x7f000001"],
])
def test_a_host_that_is_written_otherwise_is_not_ours(reader: Reader, hosts: list[str]) -> None:
    answer = reader.get("/", status=None, headers=[("host", host) for host in hosts])
    assert answer.status_code == 421


def test_only_what_comes_before_is_sent_to_who_asks_for_the_head(reader: Reader) -> None:
    for place in ("/pools/odd.csv", "/pools/odd", "/items/2"):
        answer = reader.send("HEAD", place)
        assert answer.status_code == 200
    assert reader.send("HEAD", "/pools/odd.csv").content == b""


def test_an_export_of_a_store_that_is_closed_meanwhile_is_cut_short() -> None:
    with Store() as store:
        with store.transaction():
            people = store.pool("people", "name")
            for number in range(2000):
                people.addItem(Item(name=f"{number:04}"))
        rows = Export(Reader(store).app.moments, Asked("people"), "csv")._blocks()
        assert len(next(rows)) == 500
        store.close()
        with pytest.raises(StoreClosed):
            list(rows)
