"""Whoever takes part in the benchmark keeps the same contacts, and finds the same ones."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from benchmarks.contacts import Contact, contacts
from benchmarks.contender import PAGE, Contender, Insert
from benchmarks.contenders import CONTENDERS

ITEMS = 300
PEOPLE = list(contacts(ITEMS))
NAMES = sorted(person.name for person in PEOPLE)


@pytest.fixture(params=list(CONTENDERS))
def kind(request: pytest.FixtureRequest) -> type[Contender]:
    """Each of them."""
    return CONTENDERS[request.param].load()


@pytest.fixture
def contender(kind: type[Contender], tmp_path: Path) -> Iterator[Contender]:
    """Each of them, with all contacts."""
    opened = kind(tmp_path / "contacts")
    opened.insert(PEOPLE)
    yield opened
    opened.close()


def test_all_are_found_in_order(contender: Contender) -> None:
    assert contender.count() == ITEMS
    assert contender.walk() == ITEMS
    assert contender.walk_ids() == ITEMS
    assert contender.walk_keys() in (ITEMS, None)


def test_a_contact_is_got_by_the_id_that_its_name_leads_to(contender: Contender) -> None:
    ids = contender.ids_of(NAMES)
    assert len(set(ids)) == ITEMS
    contender.forget()
    contender.get(ids)


def test_ranges_and_rows_are_those_of_a_sorted_list(contender: Contender) -> None:
    low, high = NAMES[70], NAMES[190]
    assert contender.count_between(low, high) == 121
    assert contender.position(low) == 70
    assert contender.position(NAMES[0]) == 0
    assert contender.page_at(ITEMS - 20) == 20
    assert contender.pages([(low, NAMES[119]), (NAMES[200], NAMES[249])]) == 2 * PAGE


def test_what_is_deleted_is_gone_and_what_is_changed_stays(contender: Contender) -> None:
    contender.update([(ident, 2000 + at) for at, ident in enumerate(contender.ids_of(NAMES[:9]))])
    contender.update([(contender.ids_of(NAMES[:1])[0], 1900)])
    assert contender.count() == ITEMS
    contender.delete(contender.ids_of(NAMES[:9]))
    assert contender.count() == ITEMS - 9
    assert contender.position(NAMES[9]) == 0
    contender.insert([Contact("Aa", "a@example.org", "Roma", 1950)])
    assert contender.position(NAMES[9]) == 1


def test_an_index_comes_and_goes(contender: Contender) -> None:
    for _ in range(2):
        contender.add_index()
        assert contender.walk() == ITEMS
        contender.drop_index()
    assert contender.walk() == ITEMS


def test_a_snapshot_lets_others_write(contender: Contender) -> None:
    held = contender.snapshot()
    if held is not None:
        with held:
            contender.insert(contacts(1, 5))
        assert contender.count() == ITEMS + 1


def test_several_threads_lose_nothing(contender: Contender) -> None:
    more = [list(contacts(5, seed)) for seed in range(4)]
    with contender.threads() as colleague:
        threads = [threading.Thread(target=_insert, args=(colleague, mine)) for mine in more]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert contender.count() == ITEMS + 20
    contender.insert(contacts(1, 7))
    assert contender.walk() == ITEMS + 21


def test_all_is_there_after_closing(kind: type[Contender], tmp_path: Path) -> None:
    for checkpoints in (False, True):
        contender = kind(tmp_path / "contacts", checkpoints=checkpoints)
        if not checkpoints:
            contender.insert(PEOPLE)
        assert contender.count() == ITEMS
        contender.get(contender.ids_of(NAMES[:5]))
        contender.close()


def _insert(
    colleague: Callable[[], AbstractContextManager[Insert]], mine: list[Contact]
) -> None:
    with colleague() as insert:
        for contact in mine:
            insert([contact])
