"""Changing things in the browser: one transaction each, never over what somebody else did."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest

from atop import Item, Store
from atop.item import registry
from tests.conftest import elsewhere, stored
from tests.web.asking import Reader

VALUES = {
    "text": ("str", "a\n<b>", "new\u200btext"),
    "whole": ("int", 2**70, "12"),
    "real": ("float", 1.5, "2.25"),
    "yes": ("bool", True, "false"),
    "exact": ("decimal", Decimal("1.10"), "2.20"),
    "day": ("date", date(2024, 2, 29), "2025-01-01"),
    "moment": ("datetime", datetime(2024, 1, 1, 12, tzinfo=UTC), "2024-06-01T10:00"),
    "hour": ("time", time(23, 59), "01:02"),
    "span": ("timedelta", timedelta(seconds=90), "30"),
    "uuid": ("uuid", UUID(int=7), str(UUID(int=8))),
    "raw": ("bytes", b"\x00\xff", "0102"),
    "pair": ("tuple", (1, "a"), '[2, "b"]'),
}
NEW = {
    "text": "new\u200btext", "whole": 12, "real": 2.25, "yes": False, "exact": Decimal("2.20"),
    "day": date(2025, 1, 1), "moment": datetime(2024, 6, 1, 10, tzinfo=UTC), "hour": time(1, 2),
    "span": timedelta(seconds=30), "uuid": UUID(int=8), "raw": b"\x01\x02", "pair": (2, "b"),
}


class Thing(Item):
    """Anything at all."""


@pytest.fixture
def reader() -> Iterator[Reader]:
    with Store() as store:
        with store.transaction():
            store.pool("things", "name").addItem(
                Thing(name="one", **{name: value for name, (_, value, _) in VALUES.items()})
            )
            store.pool("others", "name")
        yield Reader(store)
        assert elsewhere(store.verify).ok


def only(reader: Reader) -> Thing:
    thing: Thing = next(reader.store.items(Thing))
    return thing


@pytest.mark.parametrize("name", VALUES)
def test_a_value_is_changed_and_keeps_its_type(reader: Reader, name: str) -> None:
    thing = only(reader)
    kind, before, text = VALUES[name]
    page = reader.text(f"/items/{thing.id}/edit?name={name}")
    assert f"<option selected>{kind}</option>" in page
    answer = reader.post(f"/items/{thing.id}/edit", mark=reader.mark(thing.id), name=name,
                         kind=kind, text=text)
    assert answer.headers["location"] == f"/items/{thing.id}"
    assert stored(thing)[name] == NEW[name]
    assert type(stored(thing)[name]) is type(before)
    reader.post("/undo")
    assert stored(thing)[name] == before


@pytest.mark.parametrize("name", VALUES)
def test_saving_what_the_form_shows_changes_nothing(reader: Reader, name: str) -> None:
    thing = only(reader)
    kind, before, _ = VALUES[name]
    page = reader.get(f"/items/{thing.id}/edit?name={name}").text
    shown = re.search(r"<textarea[^>]*>\n(.*?)</textarea>", page, re.DOTALL)
    assert shown is not None
    reader.post(f"/items/{thing.id}/edit", mark=reader.mark(thing.id), name=name, kind=kind,
                text=reader.unescape(shown[1]))
    assert stored(thing)[name] == before


def test_a_value_of_another_type_is_refused_and_the_form_keeps_it(reader: Reader) -> None:
    thing = only(reader)
    answer = reader.post(f"/items/{thing.id}/edit", mark=reader.mark(thing.id), name="day",
                         kind="date", text="soon")
    assert answer.status_code == 400
    assert "date such as" in answer.text
    assert "soon</textarea>" in answer.text
    assert stored(thing)["day"] == date(2024, 2, 29)


def test_a_save_over_what_somebody_else_changed_is_refused_and_shows_both(
    reader: Reader,
) -> None:
    thing = only(reader)
    mark = reader.mark(thing.id)
    with reader.store.transaction():
        thing.name = "theirs"
    answer = reader.post(f"/items/{thing.id}/edit", mark=mark, name="name", kind="str",
                         text="mine")
    assert answer.status_code == 409
    assert "theirs" in answer.text
    assert "mine" in answer.text
    assert stored(thing)["name"] == "theirs"


def test_what_was_changed_again_since_is_not_undone(reader: Reader) -> None:
    thing = only(reader)
    reader.post(f"/items/{thing.id}/edit", mark=reader.mark(thing.id), name="name", kind="str",
                text="first")
    with reader.store.transaction():
        thing.name = "second"
    assert reader.post("/undo").status_code == 409
    assert stored(thing)["name"] == "second"


def test_items_go_in_and_out_of_pools_and_back(reader: Reader) -> None:
    thing, others = only(reader), reader.store.pool("others")
    reader.post(f"/items/{thing.id}/add", mark=reader.mark(thing.id), pool="others")
    assert thing in others
    reader.post("/undo")
    assert thing not in others
    reader.post(f"/items/{thing.id}/remove", mark=reader.mark(thing.id), pool="things")
    assert not len(reader.store.pool("things"))
    reader.post("/undo")
    assert thing in reader.store.pool("things")


def test_a_deleted_item_is_brought_back_with_its_id_and_pools(reader: Reader) -> None:
    thing = only(reader)
    with reader.store.transaction():
        friend = reader.store.add(Thing(name="friend", of=thing))
    ident, before = thing.id, stored(thing)
    assert "Delete" in reader.text(f"/items/{ident}/delete")
    reader.post(f"/items/{ident}/delete", mark=reader.mark(ident))
    assert ident not in reader.store
    assert "deleted" in reader.text("/")
    reader.post("/undo")
    assert stored(reader.store.getItemByID(ident)) == before
    assert stored(friend)["of"].id == ident
    assert [item.id for item in reader.store.pool("things")] == [ident]


def test_a_file_is_attached_and_shown_in_place(reader: Reader) -> None:
    thing = only(reader)
    for name, content in (("../etc/passwd.txt", b"<i>hello</i>"), ("b.txt", b"x" * 3_000_000)):
        reader.post(f"/items/{thing.id}/attach", mark=reader.mark(thing.id), attribute="files",
                    files={"file": (name, content)})
    first, second = [file.id for file in stored(thing)["files"]]
    page = reader.get(f"/items/{thing.id}").text
    assert "&lt;i&gt;hello&lt;/i&gt;" in page
    answer = reader.get(f"/files/{first}")
    assert answer.content == b"<i>hello</i>"
    assert answer.headers["content-disposition"].startswith("attachment")
    assert "sandbox" in answer.headers["content-security-policy"]
    part = reader.get(f"/files/{second}", status=206, headers={"range": "bytes=10-19"})
    assert part.content == b"x" * 10
    assert len(reader.get(f"/files/{second}").content) == 3_000_000
    reader.post("/undo")
    assert len(stored(thing)["files"]) == 1


def test_without_the_key_of_the_form_nothing_is_changed(reader: Reader) -> None:
    thing = only(reader)
    fields = {"mark": reader.mark(thing.id), "name": "name", "kind": "str", "text": "evil"}
    for key in ({}, {"form_key": ""}, {"form_key": "0" * 64}):
        answer = reader.send("POST", f"/items/{thing.id}/edit", data={**fields, **key})
        assert answer.status_code == 403
    assert stored(thing)["name"] == "one"


def test_a_browser_that_only_reads_has_no_forms_that_change(reader: Reader) -> None:
    thing = only(reader)
    reading = Reader(reader.store, read_only=True)
    page = reading.get(f"/items/{thing.id}").text
    assert 'method="post"' not in page
    for place in (f"/items/{thing.id}/edit", "/undo"):
        assert reading.send("POST", place, data={}).status_code in {404, 405}


def test_an_item_whose_class_is_gone_is_shown_and_not_changed(tmp_path: Path) -> None:
    gone = type("Gone", (Item,), {"__module__": "gone.module"})
    with Store(tmp_path / "store.atop") as store, store.transaction():
        ident = store.add(gone(day=date(2024, 2, 29))).id
    del registry["gone.module", "Gone"]
    with Store(tmp_path / "store.atop") as store:
        page = Reader(store).text(f"/items/{ident}")
        assert "gone.module cannot be imported" in page
        assert "2024-02-29" in page
        assert 'method="post"' not in page
