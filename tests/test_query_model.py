"""A query and all its slicing is like a sorted list."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atop import Index, Item, Pool, Store

KEYS = st.one_of(st.none(), st.integers(-4, 4), st.sampled_from(["", "a", "ab", "b"]))
ENDS = st.one_of(st.none(), st.integers(-9, 9))
SLICES = st.lists(st.builds(slice, ENDS, ENDS, st.sampled_from([None, 1, -1])), max_size=3)


def rank(key: Any) -> tuple[int, Any]:
    """The order of the keys that are tried here."""
    return (0, 0) if key is None else (1, key) if isinstance(key, int) else (2, key)


def filled(store: Store, keys: list[Any], *, late: list[Any]) -> tuple[Pool, list[Any]]:
    """A pool with `keys`; those in `late` are changed or added by the open transaction."""
    with store.transaction():
        pool = store.pool("pool", Index("k"))
        for key in keys:
            pool.addItem(Item(k=key))
    store.begin()
    members = list(pool)
    for at, key in enumerate(late):
        if at < len(members) and at % 3 == 0:
            members[at].k = key
        elif at < len(members) and at % 3 == 1:
            store.delete(members[at])
        else:
            pool.addItem(Item(k=key))
    return pool, sorted(((item.k, item.id) for item in store.items() if item is not pool),
                        key=lambda pair: (rank(pair[0]), pair[1]))


@settings(max_examples=250)
@given(
    keys=st.lists(KEYS, max_size=12), late=st.lists(KEYS, max_size=6), low=KEYS, high=KEYS,
    backwards=st.booleans(), slices=SLICES, probe=KEYS, commit=st.booleans(),
)
def test_a_query_is_like_a_sorted_list(
    keys: list[Any], late: list[Any], low: Any, high: Any, backwards: bool, slices: list[slice],
    probe: Any, commit: bool,
) -> None:
    with Store() as store:
        pool, expected = filled(store, keys, late=late)
        if commit:
            transaction = store.session().transaction
            assert transaction is not None
            transaction.commit()
        expected = [
            pair for pair in expected
            if (low is None or rank(pair[0]) >= rank(low))
            and (high is None or rank(pair[0]) <= rank(high))
        ]
        ends = (high, low) if backwards else (low, high)
        query = pool.queryIndex("k", *ends, backwards=backwards)
        if backwards:
            expected.reverse()
        turned = backwards
        for each in slices:
            query, expected = query[each], expected[each]
            turned ^= each.step == -1
        check(query, expected)
        before = [pair for pair in expected
                  if (rank(pair[0]) > rank(probe) if turned else rank(pair[0]) < rank(probe))]
        assert query.position(probe) == len(before)


def check(query: Any, expected: list[Any]) -> None:
    """All ways to ask for the same."""
    assert list(query.pairs()) == expected
    assert list(query.keys()) == [key for key, _ in expected]
    assert list(query.ids()) == [number for _, number in expected]
    assert [item.id for item in query] == [number for _, number in expected]
    assert len(query) == len(expected)
    assert list(reversed(query.pairs())) == expected[::-1]
    assert query.pairs().first() == (expected[0] if expected else None)
    assert bool(query) == bool(expected)
    for at in range(-len(expected), len(expected)):
        assert query.pairs()[at] == expected[at]
    for at in (len(expected), -len(expected) - 1, 10**30):
        with pytest.raises(IndexError):
            query[at]
    assert list(query[10**30:]) == []
    assert list(query.pairs()[: 10**30]) == expected


def test_a_slice_of_a_slice_stays_within_it() -> None:
    with Store() as store:
        pool, expected = filled(store, list(range(8)), late=[])
        rows = range(8)
        for cuts in (
            (slice(2), slice(5)), (slice(2, 6), slice(1, 9)), (slice(6), slice(2, None)),
            (slice(1, -1), slice(-3, None)), (slice(None, None, -1), slice(2), slice(7)),
            (slice(5, None), slice(None, None, -1), slice(1, 2)), (slice(3, 1), slice(4)),
        ):
            query, wanted, left = pool.queryIndex("k"), expected, rows
            for cut in cuts:
                query, wanted, left = query[cut], wanted[cut], left[cut]
            check(query, wanted)
            assert list(query.keys()) == list(left)


@settings(max_examples=100)
@given(keys=st.lists(st.text("ab\0\xff\U0010ffff", max_size=3)),
       prefix=st.text("ab\0\xff", max_size=2))
def test_a_prefix_is_what_strings_begin_with(keys: list[str], prefix: str) -> None:
    with Store() as store:
        with store.transaction():
            pool = store.pool("pool", "k", Index("t", ("k", "n")), Index("b"))
            for key in [*keys, None, 5]:
                coded = key.encode() if isinstance(key, str) else key
                pool.addItem(Item(k=key, b=coded, n=1))
        wanted = sorted(key for key in keys if key.startswith(prefix))
        assert list(pool.queryIndex("k", prefix=prefix).keys()) == wanted
        assert list(pool.queryIndex("k", prefix=prefix, backwards=True).keys()) == wanted[::-1]
        coded_prefix = prefix.encode()
        assert list(pool.queryIndex("b", prefix=coded_prefix).keys()) == sorted(
            key.encode() for key in keys if key.startswith(prefix)
        )
        same = [key for key in keys if key == prefix]
        assert len(pool.queryIndex("t", prefix=(prefix,))) == len(same)
        assert len(pool.queryIndex("k", key=prefix)) == len(same)
        assert len(pool.queryIndex("k", key=None)) == 1
