"""What the torture does with a store: transfers between accounts, and what has to hold of them.

Each transaction changes several records that have to agree: two accounts, an entry with its index
keys, a counter, and perhaps a file. Old entries are deleted with their files as part of the work,
so that a store does not grow for ever; what they had moved stays with the accounts.
"""

from __future__ import annotations

import hashlib
import random
from typing import Any

from atop import File, Index, Item, Store
from tests.torture.journal import Journal, Told

ACCOUNTS = 16
EACH = 100
MANY = 160
_OLD = 25


class Account(Item):
    """``made`` counts the entries of which it is the source, ``kept`` those that were trimmed.

    ``archived`` is what trimmed entries have moved.
    """

    number: int
    balance: int
    made: int
    kept: int
    archived: int


class Entry(Item):
    """The transfer of transaction `tx`."""

    tx: int
    source: int
    target: int
    amount: int
    counted: bool
    words: list[str]
    file: File | None
    text: str


class Trimmed(Item):
    """The transaction `tx` has deleted the entries of these."""

    tx: int
    ids: list[int]


class Books(Item):
    """A counter in a dict, which is changed in place."""

    counts: dict[str, int]


def make(store: Store) -> None:
    """A bank with accounts, and nothing moved yet."""
    with store.transaction():
        accounts = store.pool("accounts", Index("number", unique=True), "balance")
        for number in range(ACCOUNTS):
            accounts.addItem(Account(number=number, balance=EACH, made=0, kept=0, archived=0))
        store.pool("entries", Index("tx", unique=True), "source", "target",
                   Index("words", multiple=True))
        store.pool("trimmed", Index("tx", unique=True))
        store.pool("books", "name").addItem(Books(name="all", counts={"now": 0, "trimmed": 0}))


def content(tx: int) -> bytes:
    """The bytes of that transaction's file."""
    dice = random.Random(tx)
    return dice.randbytes(64) * dice.randrange(1, 1000)


class RolledBack(Exception):
    """A transaction that was rolled back on purpose."""


def transfer(store: Store, tx: int, dice: random.Random) -> None:
    """Move money, in a transaction that is open."""
    accounts, entries = store.pool("accounts"), store.pool("entries")
    first, second = dice.sample(range(ACCOUNTS), 2)
    source, target = (accounts.getIndexItem("number", number) for number in (first, second))
    amount = dice.randrange(1, 50)
    source.balance -= amount
    source.made += 1
    target.balance += amount
    entry = Entry(tx=tx, source=first, target=second, amount=amount, counted=False, file=None,
                  words=dice.sample(("rent", "food", "books", "music"), dice.randrange(3)),
                  text="x" * (70_000 if dice.random() < 0.03 else dice.randrange(300)))
    if dice.random() < 0.3:
        with store.newFile(f"receipt {tx}") as file:
            file.write(content(tx))
        entry.file = file
    entries.addItem(entry)
    if dice.random() < 0.3:
        entry.counted = True
        _books(store).counts["now"] += 1
    if dice.random() < 0.1:
        _in_vain(store, tx)


def _in_vain(store: Store, tx: int) -> None:
    try:
        with store.transaction():
            store.pool("entries").addItem(Entry(tx=-tx, source=0, target=0, words=["never"]))
            store.pool("accounts").getIndexItem("number", 0).balance += 1_000_000
            raise RolledBack
    except RolledBack:
        pass


def trim(store: Store, tx: int) -> None:
    """Delete the oldest entries, in a transaction that is open."""
    accounts, books = store.pool("accounts"), _books(store)
    old = list(store.pool("entries").queryIndex("tx")[:_OLD])
    store.pool("trimmed").addItem(Trimmed(tx=tx, ids=[entry.tx for entry in old]))
    for entry in old:
        source, target = (accounts.getIndexItem("number", number)
                          for number in (entry.source, entry.target))
        source.archived -= entry.amount
        source.kept += 1
        target.archived += entry.amount
        if entry.counted:
            books.counts["trimmed"] += 1
        if entry.file is not None:
            store.delete(entry.file)
        store.delete(entry)


def _books(store: Store) -> Any:
    return store.pool("books").getIndexItem("name", "all")


def is_full(store: Store) -> bool:
    """Whether it is time to trim."""
    return len(store.pool("entries")) > MANY


def look(store: Store, dice: random.Random, floor: int) -> None:
    """In a snapshot: what has to hold at every moment. `floor` was committed before it began."""
    snapshot = store.session().snapshot
    assert snapshot is not None
    expect(snapshot.serial >= floor,
           f"commit {floor} was told of, and a later snapshot is of {snapshot.serial}")
    _check_sums(store)
    for number in dice.sample(range(ACCOUNTS), 2):
        _check_account(store, number)
    entries = store.pool("entries")
    expect(not len(entries.queryIndex("tx", endKey=-1)), "a savepoint rolled back is seen")
    if len(entries):
        _check_file(entries.queryIndex("tx")[dice.randrange(len(entries))])
    _check_sums(store)


def _check_sums(store: Store) -> None:
    accounts = store.pool("accounts")
    balances = [account.balance for account in accounts.queryIndex("number")]
    expect(len(balances) == ACCOUNTS, f"there are {len(balances)} accounts")
    expect(sum(balances) == ACCOUNTS * EACH, f"the balances have the sum {sum(balances)}")
    by_index = list(accounts.queryIndex("balance").keys())
    expect(by_index == sorted(balances), "the index has other balances than the accounts")


def _check_account(store: Store, number: int) -> None:
    account = store.pool("accounts").getIndexItem("number", number)
    entries = store.pool("entries")
    out, into = (entries.queryIndex(way, key=number) for way in ("source", "target"))
    spent, got = [list(each) for each in (out, into)]
    expect((len(out), len(into)) == (len(spent), len(got)), "an index counts other than it lists")
    expect(all(entry.source == number for entry in spent), "the index source has others' entries")
    expect(account.made == account.kept + len(spent), f"account {number} lacks entries")
    moved = sum(entry.amount for entry in got) - sum(entry.amount for entry in spent)
    expect(account.balance == EACH + account.archived + moved,
           f"account {number} has {account.balance}, which is not what its entries moved")


def _check_file(entry: Any) -> None:
    if entry.file is None:
        return
    with entry.file.open() as source:
        data = source.read()
    expect(data == content(entry.tx), f"the file of transaction {entry.tx} has other bytes")
    expect(hashlib.sha256(data).hexdigest() == entry.file.sha256, "a file has another digest")


def audit(store: Store, journal: Journal, before: set[int]) -> tuple[set[int], Told]:
    """Compare the whole store with the journal; answers what is in it, and empties the archive.

    `before` are the transactions that were in it when this was called last.
    """
    with store.snapshot():
        for number in range(ACCOUNTS):
            _check_account(store, number)
        _check_sums(store)
        entries = list(store.pool("entries"))
        for entry in entries:
            _check_file(entry)
        archive = list(store.pool("trimmed"))
        counts = _books(store).counts
        counted = sum(entry.counted for entry in entries)
        expect(counts["now"] == counts["trimmed"] + counted, "the counter is not what was counted")
        files = {entry.file.id for entry in entries if entry.file is not None}
        expect({file.id for file in store.items(File)} == files, "files and entries disagree")
    alive = {entry.tx for entry in entries}
    trimmed = {number for each in archive for number in each.ids}
    expect(not alive & trimmed, "what was trimmed is there again")
    told = journal.read()
    _compare(alive | trimmed | {each.tx for each in archive}, told, before)
    with store.transaction():
        for each in archive:
            store.delete(each)
    return alive, told


def _compare(present: set[int], told: Told, before: set[int]) -> None:
    lost = (told.committed | before) - present
    expect(not lost, f"lost commits: {sorted(lost)}")
    undead = present & told.aborted
    expect(not undead, f"these were told to be lost, and are there: {sorted(undead)}")
    strange = present - told.meant - before
    expect(not strange, f"nobody has meant to commit these: {sorted(strange)}")


class Broken(AssertionError):
    """Something does not hold that has to."""


def expect(holds: bool, otherwise: str) -> None:
    """Raise :class:`Broken` unless it holds."""
    if not holds:
        raise Broken(otherwise)
