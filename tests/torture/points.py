"""The fail points: steps of the store before and after which a process can be made to die.

Nothing in Atop knows of them. A process of the torture wraps the functions of the table when it
begins, and each wrapper looks whether it is the one that was armed.
"""

from __future__ import annotations

import functools
import importlib
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.torture.board import Place

OWNER, CLIENT, ANY = "owner", "client", "any"
OPENING, CLOSING = "opening", "closing"
COMING, MEETING = "client that comes", "owner that meets one"
_ENGINE = "atop.engine."


@dataclass(frozen=True)
class Point:
    """A function, by module and dotted name, and in whom it is passed and when."""

    name: str
    target: str
    where: str
    after: bool = True

    def find(self) -> tuple[Any, str, Callable[..., Any]]:
        """What has the function, its name there, and the function."""
        module, path = self.target.split(":")
        *owners, name = path.split(".")
        owner = importlib.import_module(module)
        for each in owners:
            owner = getattr(owner, each)
        return owner, name, getattr(owner, name)


POINTS = (
    Point("flush", "atop.transaction:Transaction.flush", ANY),
    Point("file.create", "atop.files:Writer.__init__", ANY),
    Point("file.finish", "atop.files:Writer.finish", ANY),
    Point("file.adopt", _ENGINE + "filefolder:FileFolder.adopt", OWNER),
    Point("file.rename", "pathlib:Path.rename", OWNER),
    Point("file.sync folder", _ENGINE + "filefolder:sync_folder", OWNER),
    Point("file.remove", _ENGINE + "filefolder:FileFolder.remove", OWNER),
    Point("file.unlink", _ENGINE + "filefolder:FileFolder._remove_doomed", OWNER),
    Point("turn.take", _ENGINE + "bdbturn:BerkeleyTurn.begin", OWNER),
    Point("turn.end", _ENGINE + "bdbturn:BerkeleyTurn._end", OWNER),
    Point("turn.pass", _ENGINE + "turn:TurnLock._next", OWNER),
    Point("commit", _ENGINE + "bdb:BerkeleyEngine.commit", OWNER),
    Point("commit.write", _ENGINE + "tables:Tables.write", OWNER),
    Point("commit.row", _ENGINE + "tables:Tables.write_commit", OWNER),
    Point("commit.settle", _ENGINE + "bdb:BerkeleyEngine._settle", OWNER),
    Point("commit.announce", _ENGINE + "owned:Owned._announce", OWNER),
    Point("commit.publish", _ENGINE + "published:Published.write", OWNER),
    Point("abort", _ENGINE + "bdb:BerkeleyEngine.undo", OWNER),
    Point("sync.wait", _ENGINE + "log:LogSync.wait", OWNER),
    Point("sync", _ENGINE + "log:_sync", OWNER),
    Point("sync.next log", _ENGINE + "log:LogSync._open", OWNER),
    Point("sync.names", "os:fsync", OWNER),
    Point("checkpoint", _ENGINE + "environment:Environment._checkpoint", OWNER),
    Point("checkpoint.relieve", _ENGINE + "environment:Environment.relieve", OWNER),
    Point("server.accept", _ENGINE + "client:Client.connection_made", MEETING),
    Point("server.meet", _ENGINE + "client:Client._meet", MEETING),
    Point("server.answer", _ENGINE + "client:Client.send", OWNER),
    Point("server.commit", _ENGINE + "bdbturn:BerkeleyTurn.write", OWNER),
    Point("server.sync", _ENGINE + "server:Server.synced", OWNER),
    Point("server.lose client", _ENGINE + "service:Service.close", MEETING),
    Point("client.turn", _ENGINE + "remoteturn:RemoteTurn.__init__", CLIENT),
    Point("client.stage", _ENGINE + "sending:staged", CLIENT),
    Point("client.commit", _ENGINE + "remoteturn:RemoteTurn._commit", CLIENT),
    Point("client.attempt", _ENGINE + "remote:RemoteEngine.attempt", CLIENT),
    Point("client.release", _ENGINE + "remoteturn:RemoteTurn.release", CLIENT),
    Point("client.snapshot", _ENGINE + "lasting:Lasting._begin_snapshot", ANY),
    Point("client.ask", _ENGINE + "connection:Connection._receive", CLIENT),
    Point("open.look", _ENGINE + "link:look", COMING),
    Point("open.lock", _ENGINE + "owner:Owner.__init__", OPENING),
    Point("open.check", _ENGINE + "folder:Folder._check", OPENING),
    Point("open.sign", _ENGINE + "owner:Owner.sign", OPENING),
    Point("open.cut note", "os:ftruncate", OPENING),
    Point("open.recover", _ENGINE + "environment:Environment._open", OPENING),
    Point("open.table", _ENGINE + "environment:Environment._open_table", OPENING),
    Point("open.engine", _ENGINE + "bdb:BerkeleyEngine.__init__", OPENING),
    Point("open.sweep", _ENGINE + "filefolder:FileFolder.sweep", OPENING),
    Point("open.listen", _ENGINE + "serving:listen_unix", OPENING),
    Point("open.owned", _ENGINE + "owned:Owned.__init__", OPENING),
    Point("open.serve", _ENGINE + "serving:Serving._serve", OPENING, after=False),
    Point("pass.find", _ENGINE + "lasting:Lasting._attach", OPENING),
    Point("pass.lose", _ENGINE + "lasting:Lasting._detach", OPENING),
    Point("pass.greet", _ENGINE + "connection:Connection.greet", COMING),
    Point("pass.in doubt", _ENGINE + "remoteturn:RemoteTurn._is_in", OPENING),
    Point("close", _ENGINE + "owned:Owned.close", CLOSING),
    Point("close.serving", _ENGINE + "serving:Serving.stop", CLOSING),
    Point("close.good-bye", _ENGINE + "client:Client.leave", CLOSING),
    Point("close.folder", _ENGINE + "folder:Folder.close", CLOSING),
    Point("close.log", _ENGINE + "log:LogSync.close", CLOSING),
    Point("close.environment", _ENGINE + "environment:Environment.close", CLOSING),
    Point("close.tables", _ENGINE + "environment:Environment._close", CLOSING),
    Point("close.sign off", _ENGINE + "owner:Owner.sign_off", CLOSING),
    Point("close.unlock", _ENGINE + "owner:Owner.release", CLOSING),
)

ENDS = tuple(
    (point, f"{point.name} {end}")
    for point in POINTS for end in ("before", "after") if point.after or end == "before"
)
_NUMBERS = {name: number for number, (_, name) in enumerate(ENDS)}

here: Place | None = None
"""The place of this process."""


def install(place: Place) -> None:
    """Wrap all functions of the table, in this process."""
    global here
    here = place
    for point in POINTS:
        owner, name, function = point.find()
        setattr(owner, name, _wrapped(function, point))


def move(place: Place) -> None:
    """This process is another one now: it was forked."""
    global here
    here = place


def _wrapped(function: Callable[..., Any], point: Point) -> Callable[..., Any]:
    before = _NUMBERS[f"{point.name} before"]
    after = _NUMBERS.get(f"{point.name} after")

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        _pass(before)
        result = function(*args, **kwargs)
        if after is not None:
            _pass(after)
        return result

    return call


def _pass(end: int) -> None:
    place = here
    if place is None or place.pid != os.getpid():
        return
    place.passes[end] += 1
    if place.armed == end + 1:
        place.countdown -= 1
        if place.countdown <= 0:
            die(place, end + 1)


def die(place: Place, mark: int) -> None:
    """End at once; `mark` tells at which end of a fail point, plus one."""
    place.died = time.monotonic()
    place.died_at = mark
    os.kill(os.getpid(), signal.SIGKILL)
