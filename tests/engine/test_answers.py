"""What a client remembers of answers is what the owner would answer now, whoever has committed."""

from __future__ import annotations

import tempfile
from pathlib import Path

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, rule

from atop.engine.answers import Answers
from atop.engine.base import INDEX, ITEMS, Engine, Range
from atop.engine.joined import Joined
from atop.engine.owned import Owned
from atop.errors import SnapshotTooOld
from tests.engine.steps import CACHE, ident, index_key, put

NUMBERS = st.integers(0, 30)
BOUNDS = st.none() | st.builds(lambda number: b"k%06d" % number, NUMBERS)
RANGES = st.builds(Range, BOUNDS, BOUNDS, st.integers(1, 12), st.integers(0, 8), st.booleans())


class Remembering(RuleBasedStateMachine):
    """The owner and a client write in turns; the client reads the same things again and again."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        path = Path(self.folder.name) / "store.atop"
        self.owned = Owned(path, read_only=False, cache_bytes=CACHE, timeout=5)
        self.joined = Joined(path, read_only=False, patience=5)
        self.asked: list[Range] = []

    def teardown(self) -> None:
        self.joined.close()
        self.owned.close()
        self.folder.cleanup()

    @rule(by_client=st.booleans(), numbers=st.sets(NUMBERS, min_size=1, max_size=4))
    def change(self, by_client: bool, numbers: set[int]) -> None:
        engine: Engine = self.joined.engine if by_client else self.owned.engine
        puts, deletes = {}, []
        for number in numbers:
            row, item = (INDEX, index_key(f"k{number:06}", number)), (ITEMS, ident(number))
            if number % 2 and self.owned.engine.get(*item)[1] is not None:
                deletes += [row, item]
            else:
                puts[row], puts[item] = b"", b"%d" % engine.serial
        put(engine, puts, deletes)

    @rule(within=RANGES)
    def ask(self, within: Range) -> None:
        self.asked.append(within)

    @rule(known=st.frozensets(st.builds(ident, NUMBERS)))
    def agree(self, known: frozenset[bytes]) -> None:
        owner, client = self.owned.engine, self.joined.engine
        for within in self.asked:
            low, high = within.low, within.high
            assert client.scan(INDEX, within) == owner.scan(INDEX, within)
            assert client.keys(within) == owner.keys(within)
            assert client.count(low, high) == owner.count(low, high)
            serial, rows = client.join(within, known)
            for (key, record), (wanted, there) in zip(
                rows, owner.join(within, frozenset())[1], strict=True
            ):
                assert key == wanted
                assert record in (there, None if key[-8:] in known else there)
            assert serial == owner.serial
        for number in range(31):
            assert client.get(ITEMS, ident(number)) == owner.get(ITEMS, ident(number))


TestRemembering = Remembering.TestCase
TestRemembering.settings = settings(max_examples=15, stateful_step_count=25)


def test_an_older_moment_is_not_given_newer_answers() -> None:
    answers = Answers(1 << 20)
    answers.move(5, lambda since: {})
    answers.keep_rows(ITEMS, [(b"a", b"old")], 5)
    answers.move(6, lambda since: {ITEMS: [b"a"]})
    answers.keep_rows(ITEMS, [(b"a", b"new")], 6)
    assert answers.row(ITEMS, b"a", 5) is None
    assert answers.row(ITEMS, b"a", 6) == (b"new",)


def test_an_answer_of_another_moment_is_not_kept() -> None:
    answers = Answers(1 << 20)
    answers.move(5, lambda since: {})
    answers.keep_rows(ITEMS, [(b"a", b"late")], 4)
    answers.keep_page(Range(b"a", b"b", 3), [b"a1"], 6)
    assert answers.row(ITEMS, b"a", 5) is None
    assert answers.page(Range(b"a", b"b", 3), 5) is None


def test_all_is_dropped_when_nobody_knows_what_changed() -> None:
    def too_old(since: int) -> dict[str, list[bytes]]:
        raise SnapshotTooOld("gone")

    answers = Answers(1 << 20)
    answers.move(5, lambda since: {})
    answers.keep_rows(ITEMS, [(b"a", b"old")], 5)
    answers.move(900, too_old)
    assert answers.row(ITEMS, b"a", 900) is None


def test_what_is_kept_is_bounded() -> None:
    answers = Answers(10_000)
    answers.move(1, lambda since: {})
    for number in range(1000):
        answers.keep_rows(ITEMS, [(ident(number), bytes(100))], 1)
    assert sum(answers.row(ITEMS, ident(number), 1) is not None for number in range(1000)) < 60
