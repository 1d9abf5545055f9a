"""The messages between a store's server and its clients: types alone; doc/protocol.rst tells more.

The messages of a client are requests with numbers; an answer has the number of its request, so
answers may overtake one another. Keys and records are bytes here: there is no pickle among them
that a server would load.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final

from msgspec import Meta, Struct

from atop.engine.base import TABLES, BeforeImage, JoinedRow, Landed, Range, Row, State

TOKEN_BYTES = 16

Natural = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Seconds = Annotated[float, Meta(ge=0)]


class Message(Struct, array_like=True, tag=True, forbid_unknown_fields=True, gc=False):
    """Each message is an array: its name, then its fields in their order."""


class Request(Message):
    """What a client asks, and the type of the body of the answer. Number 0 wants no answer."""

    answer: ClassVar[Any] = None
    writes: ClassVar[bool] = False
    number: Natural


class Welcome(Struct, array_like=True, gc=False):
    """Who answers; seconds after which a turn may be lost, the largest request in bytes."""

    pid: Natural
    host: str
    command: str
    read_only: bool
    timeout: Seconds
    max_request: int
    state: State


class Hello(Request):
    """The first request: who is there. `read_only` gives up the right to write."""

    answer: ClassVar[Any] = Welcome
    pid: Natural
    host: str
    command: str
    token: str = ""
    read_only: bool = False

    def __repr__(self) -> str:
        return f"<process {self.pid} of {self.host}>"  # a token is not shown


class Get(Request):
    """See :class:`atop.engine.base.Engine`, as for all reads."""

    answer: ClassVar[Any] = bytes | None
    table: str
    key: bytes


class GetMany(Request):
    answer: ClassVar[Any] = list[bytes | None]
    table: str
    keys: list[bytes]


class Scan(Request):
    """The answer has fewer rows than asked for, and says so, where they would be too many bytes."""

    answer: ClassVar[Any] = tuple[bool, list[Row]]
    table: str
    within: Range


class Join(Request):
    """`known` are ids of items whose records the client has."""

    answer: ClassVar[Any] = tuple[bool, list[JoinedRow]]
    within: Range
    known: list[bytes]


class Count(Request):
    answer: ClassVar[Any] = int
    low: bytes | None
    high: bytes | None


class Look(Request):
    """The state that the commit `serial` left; without one, the last commit."""

    answer: ClassVar[Any] = State
    serial: Natural | None = None


class Changed(Request):
    """The keys that were committed after `since`, by table."""

    answer: ClassVar[Any] = dict[str, list[bytes]]
    since: Natural


class Commits(Request):
    """The before-images of the commits after `since`, each with its serial."""

    answer: ClassVar[Any] = list[tuple[int, dict[str, list[BeforeImage]] | None]]
    since: Natural


class BeginSnapshot(Request):
    """No file is removed that a commit after `serial` deletes, or after the last one, until an
    :class:`EndSnapshot` of the snapshot's serial has come, which is that of the answer.
    """

    answer: ClassVar[Any] = bool
    serial: Natural | None = None


class EndSnapshot(Request):
    """A snapshot of that serial has ended; or one that was a lock on the file ``serial``."""

    serial: Natural | None = None


class Reserve(Request):
    """The first of `count` ids that nobody else gets."""

    answer: ClassVar[Any] = int
    writes: ClassVar[bool] = True
    count: Natural


class GiveBack(Request):
    """The ids from `first` up to `end` are not needed."""

    writes: ClassVar[bool] = True
    first: Natural
    end: Natural


class TakeTurn(Request):
    """Wait for the writer's turn, which `turn` names from then on.

    Answers the state then, and the first of 65,536 ids that nobody else gets.
    """

    answer: ClassVar[Any] = tuple[State, Natural]
    writes: ClassVar[bool] = True
    turn: bytes
    timeout: Seconds


class Working(Request):
    """The client that has the turn is at work."""

    writes: ClassVar[bool] = True
    turn: bytes


class Release(Request):
    """The turn is given up, or no longer waited for."""

    writes: ClassVar[bool] = True
    turn: bytes


class Columns(Struct, array_like=True, gc=False):
    """The differences of one table; see :class:`atop.engine.base.Changes`."""

    keys: list[bytes]
    pairs: list[tuple[bytes | None, bool]]
    inserting: bool

    def __post_init__(self) -> None:
        if len(self.keys) != len(self.pairs):
            raise ValueError(f"{len(self.keys)} keys have {len(self.pairs)} values")


class Stage(Request):
    """A part of a commit that is too large for one message; before `Apply`, with its `token`."""

    writes: ClassVar[bool] = True
    token: bytes
    table: str
    columns: Columns


class Apply(Request):
    """Commit what was staged with the token of `state`, and `changes`; the turn is over then.

    `files` are ids with the names that the bytes have in the folder of files, `removed` are ids.
    """

    answer: ClassVar[Any] = bool
    writes: ClassVar[bool] = True
    turn: bytes
    state: State
    changes: Annotated[dict[str, Columns], Meta(max_length=len(TABLES))]
    note: str
    durable: bool
    files: list[tuple[Natural, str]]
    removed: list[Natural]


class Attempt(Request):
    """Commit what was staged, and `changes`, if nothing of what was read has changed since.

    `state` has the serial after the moment at which it was read. `keys` are what was read by table,
    `ranges` the parts of tables. Answers what it has left, and the items that others changed.
    """

    answer: ClassVar[Any] = Landed
    writes: ClassVar[bool] = True
    state: State
    keys: Annotated[dict[str, list[bytes]], Meta(max_length=len(TABLES))]
    ranges: Annotated[
        dict[str, list[tuple[bytes | None, bytes | None]]], Meta(max_length=len(TABLES))
    ]
    changes: Annotated[dict[str, Columns], Meta(max_length=len(TABLES))]
    note: str
    durable: bool
    timeout: Seconds
    files: list[tuple[Natural, str]]
    removed: list[Natural]


class Outcome(Request):
    """Whether a commit from that serial on has that token; ``None`` if nobody can tell any more.

    The turn, if anybody still has it, is over before this is answered, so the answer is final. The
    turn of an :class:`Attempt` has its token.
    """

    answer: ClassVar[Any] = bool | None
    turn: bytes
    serial: Natural
    token: bytes


class NewFile(Request):
    """A name in the folder of files, to be filled."""

    answer: ClassVar[Any] = str
    writes: ClassVar[bool] = True


class FileData(Request):
    """Append to a new file."""

    answer: ClassVar[Any] = int
    writes: ClassVar[bool] = True
    name: str
    data: bytes


class FileEnd(Request):
    """All has been sent: compare, and put the bytes on disk."""

    answer: ClassVar[Any] = bool
    writes: ClassVar[bool] = True
    name: str
    size: Natural
    sha256: str


class FileDrop(Request):
    """A new file is not wanted."""

    writes: ClassVar[bool] = True
    name: str


class ReadFile(Request):
    """At most `size` bytes of a committed file from `offset` on; none at its end."""

    answer: ClassVar[Any] = bytes
    id: Natural
    offset: Natural
    size: Natural


class Care(Request):
    """What is done to the store as a whole: ``checkpoint``, ``compact``, ``pages``, ``figures``.

    ``copy`` puts what a backup needs into the folder `path`; for clients on the same machine.
    """

    answer: ClassVar[Any] = Any
    what: str
    path: str = ""


class Status(Request):
    """How the server is: a mapping, see ``atopdb serve --status``."""

    answer: ClassVar[Any] = dict[str, Any]


class Stop(Request):
    """End the server, in order."""

    answer: ClassVar[Any] = bool


REQUESTS: Final = (
    Hello, Get, GetMany, Scan, Join, Count, Look, Changed, Commits, BeginSnapshot, EndSnapshot,
    Reserve, GiveBack, TakeTurn, Working, Release, Stage, Apply, Attempt, Outcome,
    NewFile, FileData, FileEnd, FileDrop, ReadFile, Care, Status, Stop,
)  # fmt: skip


class Answer(Message):
    """The answer to a request, and the serial at which it holds."""

    number: Natural
    serial: Natural
    body: Any


class Failure(Message):
    """A request failed: the name of an error of :mod:`atop.errors`, its message and data."""

    number: Natural
    error: str
    message: str
    data: dict[str, str | int | list[int]]


class Committed(Message):
    """Somebody has made the commit `serial`. Sent unasked to clients over TCP."""

    serial: Natural


class Leaving(Message):
    """The server is about to close, and why: ``passing on``, or what the client did wrong."""

    reason: str
