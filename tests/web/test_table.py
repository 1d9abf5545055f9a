"""Tables over HTTP, as programs and browsers without JavaScript see them."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from datetime import date
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from atop import Index, Item, Store
from tests.web.asking import Reader

CITIES = ["Bonn", "Lyon", "Oslo", "Rome"]


class Person(Item):
    """Somebody with a name, a city and a birthday."""


@pytest.fixture
def reader() -> Iterator[Reader]:
    with Store() as store:
        with store.transaction():
            tag = Index("tag", "tags", multiple=True)
            people = store.pool("people", "name", "city", "born", tag)
            for number in range(1000):
                people.addItem(Person(
                    name=f"Name {number:04}", city=CITIES[number % 4], age=number % 90,
                    born=date(1950 + number % 50, 1, 1), tags=["odd"] if number % 2 else ["even"],
                    note="x" * (number % 7),
                ))
        yield Reader(store)


def names(answer: httpx.Response) -> list[str]:
    return [row["name"] for row in answer.json()["rows"]]


def test_a_page_anywhere_is_rows_of_the_index_in_order(reader: Reader) -> None:
    answer = reader.get("/pools/people.json?index=name&row=901&limit=3")
    assert names(answer) == ["Name 0900", "Name 0901", "Name 0902"]
    assert answer.json()["total"] == 1000
    assert "rows 901 to 903 of 1,000" in reader.text("/pools/people?index=name&row=901&limit=3")


def test_backwards_from_and_to_are_as_in_a_query(reader: Reader) -> None:
    answer = reader.get("/pools/people.json?index=name&backwards=1&from=Name+0500&to=Name+0498")
    assert names(answer) == ["Name 0500", "Name 0499", "Name 0498"]
    assert reader.get("/pools/people.json?index=born&from=1999-01-01").json()["total"] == 20


def test_the_python_call_that_is_shown_gives_the_same_rows(reader: Reader) -> None:
    for query in ("index=name&from=Name+0010&to=Name+0020", "index=born&from=1970-01-01&row=30",
                  "index=city&prefix=Ly&limit=7", "index=name&backwards=1&row=5"):
        page = reader.text(f"/pools/people?{query}")
        call = re.search(r'<code id="call">(.*?)</code>', page, re.DOTALL)
        assert call is not None
        shown = reader.get(f"/pools/people.json?{query}&columns=id").json()["rows"]
        code = reader.unescape(call[1])
        import datetime

        found = eval(code, {"store": reader.store, "datetime": datetime})
        assert [item.id for item in found] == [row["id"] for row in shown]


def test_an_equality_uses_an_index_whatever_is_sorted_by(reader: Reader) -> None:
    answer = reader.get("/pools/people.json?index=name&city__is=Oslo&row=3&limit=2").json()
    assert [row["name"] for row in answer["rows"]] == ["Name 0010", "Name 0014"]
    assert answer["total"] == 250
    assert answer["looked"] is None
    assert reader.get("/pools/people.json?tag__is=odd&city__is=Oslo").json()["total"] == 0


@pytest.mark.parametrize(("query", "wanted"), [
    ("name__contains=e+000", 10),
    ("city__not=Oslo", 750),
    ("city__in=Oslo,Rome", 500),
    ("note__empty=1", 143),
    ("note__filled=1", 857),
    ("age__is=7", 12),
    ("tags__contains=od", 500),
    ("nothing__empty=1", 1000),
])
def test_filters_look_at_rows_and_say_how_far_they_came(
    reader: Reader, query: str, wanted: int
) -> None:
    found, after = 0, 0
    while after < 1000:
        answer = reader.get(f"/pools/people.json?{query}&limit=100&after={after}").json()
        found += len(answer["rows"])
        after = answer["looked"]
    assert found == wanted
    assert "looked at" in reader.text(f"/pools/people?{query}")


def test_exports_have_exactly_the_rows_that_are_shown(reader: Reader) -> None:
    query = "index=name&from=Name+0100&city__contains=o&columns=id,name,tags"
    lines = list(csv.DictReader(io.StringIO(reader.get(f"/pools/people.csv?{query}").text)))
    rows = [json.loads(line) for line in reader.get(f"/pools/people.ndjson?{query}").iter_lines()]
    whole = reader.get(f"/pools/people.json?{query}&all=1").json()
    wanted = [person for person in reader.store.pool("people").queryIndex("name", "Name 0100")
              if "o" in person.city.casefold()]
    assert [row["id"] for row in rows] == [person.id for person in wanted]
    assert whole == rows
    assert [(line["id"], line["name"]) for line in lines] == [
        (str(person.id), person.name) for person in wanted
    ]
    assert json.loads(lines[0]["tags"]) == wanted[0].tags


def test_a_key_is_jumped_to_by_its_first_letters_and_a_row_by_its_number(reader: Reader) -> None:
    for key, row in (("Name 09", 901), ("#512", 512), ("Name 0999z", 1001)):
        place = f"/pools/people/position?index=name&key={quote(key)}"
        told = reader.get(place.replace("position", "position.json")).json()
        assert told == {"row": row}
        answer = reader.get(place, follow=False)
        assert answer.status_code == 303
        assert (f"row={row}" in answer.headers["location"]) == (row > 1)
    born = reader.get("/pools/people/position.json?index=born&key=1980").json()["row"]
    assert reader.get(f"/pools/people.json?index=born&row={born}&limit=1&columns=born").json()[
        "rows"] == [{"born": "1980-01-01"}]
    assert reader.get(
        "/pools/people/position.json?index=name&backwards=1&key=Name+0100"
    ).json() == {"row": 900}


def test_the_values_of_an_index_are_counted(reader: Reader) -> None:
    page = reader.text("/pools/people?facets=city")
    for city in CITIES:
        assert re.search(rf"city__is={city}.*?{city}.*?250", page), f"{city} is not counted"
    assert "the first 30 values" in reader.text("/pools/people?facets=name")


def test_a_page_stays_on_its_commit_and_offers_the_newest(reader: Reader) -> None:
    at = reader.get("/commit.json").json()["commit"]
    people = reader.store.pool("people")
    with reader.store.transaction():
        for person in list(people.queryIndex("name")[:500]):
            reader.store.delete(person)
        people.addItem(Person(name="Aaron"))
    old = f"/pools/people.json?index=name&at={at}&limit=1"
    assert names(reader.get(old)) == ["Name 0000"]
    assert reader.get(old).json()["total"] == 1000
    assert names(reader.get(old + "&row=700")) == ["Name 0699"]
    assert names(reader.get("/pools/people.json?index=name&limit=1")) == ["Aaron"]
    assert "Show the newest" in reader.text(f"/pools/people?at={at}")


@pytest.mark.parametrize("name", [
    "a/b", "50%", "x.json", "what?", "#1", "\u202eevil", "\U0001f600", "a b", "..", "<b>", "a\nb",
])
def test_pools_are_found_whatever_they_are_called(reader: Reader, name: str) -> None:
    with reader.store.transaction():
        reader.store.pool(name, "name").addItem(Person(name="only"))
    home = reader.text("/")
    place = next(link for link in re.findall(r'href="(/pools/[^"?]+)"', home)
                 if "only" in reader.text(link))
    assert "only" in reader.text(place + "?index=name&prefix=o")


@pytest.mark.parametrize(("place", "status", "told"), [
    ("/pools/nobody", 404, "no pool"),
    ("/pools/people?index=height", 404, "no index"),
    ("/pools/people?row=0", 400, "row is a number"),
    ("/pools/people?limit=1000000", 400, "limit is a number from 1 to 1,000"),
    ("/pools/people?index=born&from=tomorrow", 400, "date such as"),
    ("/pools/people?index=born&prefix=19", 400, "do not begin with"),
    ("/pools/people?colour=red", 400, "nothing that a table can be asked for"),
    ("/pools/people?columns=" + ",".join(f"c{n}" for n in range(300)), 400, "too many"),
    ("/pools/people?at=99999999", 410, "no commit"),
    ("/items/999999", 404, "no item"),
    ("/items/bob", 400, "no id"),
    ("/files/3", 404, "no file"),
    ("/nowhere", 404, "no page"),
])
def test_what_there_is_not_is_said_in_words_with_a_way_back(
    reader: Reader, place: str, status: int, told: str
) -> None:
    answer = reader.get(place, status=status)
    assert told in reader.unescape(answer.text)
    assert 'href="/"' in answer.text


def test_a_row_past_the_end_and_an_unknown_column_are_no_errors(reader: Reader) -> None:
    assert "no row 5,000, as there are 1,000" in reader.text("/pools/people?row=5000")
    rows: Any = reader.get("/pools/people.json?columns=name,height&limit=1").json()["rows"]
    assert rows == [{"name": "Name 0000"}]


def test_a_closed_store_says_so(reader: Reader) -> None:
    reader.store.close()
    for place in ("/", "/pools/people", "/items/3", "/commit.json"):
        assert "closed" in reader.get(place, status=503).text
