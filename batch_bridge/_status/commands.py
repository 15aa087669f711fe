"""Commands of other processes to the owner of a file. They are rows in the file, and the owner carries them out.

::

    asked ──▶ done | refused          written by who asks; then by the owner, once it is done

A command is a row from the moment it is asked, so that a crash does not lose it: the next owner carries it out. Each
may be carried out twice without harm.
"""

import os
import sqlite3
import uuid
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep, time
from typing import Any, Final, Literal, TypeAlias, get_args

import orjson

from batch_bridge._sqlite.error_text import advice
from batch_bridge._status.file import read_only
from batch_bridge._status.models import Status
from batch_bridge._status.names import COMMANDS
from batch_bridge._status.read import read_status
from batch_bridge.errors import RunFileError

Verb: TypeAlias = Literal["flush", "cancel", "retry", "pause", "resume"]
VERBS: Final = get_args(Verb)
_BUSY_SECONDS: Final = 5.0
_LOOK_AGAIN: Final = 0.05
_PUT: Final = (
    "INSERT INTO store (prefix, key, value, created_at, updated_at) "
    "VALUES (?, ?, ?, CURRENT_TIMESTAMP, CURRENT_TIMESTAMP) ON CONFLICT (prefix, key) DO NOTHING"
)


class CommandRefused(RunFileError):
    """A command was not written: no process would carry it out."""


@dataclass(frozen=True, slots=True)
class FileCommand:
    """A command and its state.

    Attributes:
        id: Names it; the same one again is the same command.
        verb: What to do.
        target: `{"thread" | "run" | "batch": its name}`; empty for all.
        state: `asked`, `done` or `refused`.
        said: What its owner has to say of it.
    """

    id: str
    verb: str
    target: Mapping[str, str]
    state: str = "asked"
    said: str = ""


def read_command(key: str, row: Mapping[str, Any]) -> FileCommand:
    """Return the command that a row holds."""
    return FileCommand(key, row["verb"], row["target"], row["state"], row.get("said", ""))


def ask(
    name: str | os.PathLike[str], verb: Verb, target: Mapping[str, str] | None = None, *, command_id: str | None = None
) -> str:
    """Write a command into a file, and return its id. Idempotent by its id.

    Raises:
        CommandRefused: No process has the file open, or it is one of Jobs, which none keeps open.
        RunFileError: The file is not there, no such file, or cannot be written.
    """
    if (reason := why_not(read_status(name))) is not None:
        raise CommandRefused(reason)
    key = command_id or uuid.uuid4().hex
    row = {"verb": verb, "target": dict(target or {}), "state": "asked", "at": time()}
    path = Path(name).absolute()
    try:
        with closing(sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)) as connection:
            connection.execute(_PUT, (COMMANDS, key, orjson.dumps(row)))
    except sqlite3.Error as error:
        what = advice(error, damaged="Restore it from a copy.")
        raise RunFileError(f"{path}: the command could not be written: {error}. {what}") from error
    return key


def why_not(status: Status) -> str | None:
    """Return why commands are refused; `None` if they are not."""
    if status.kind == "jobs":
        return f"{status.file} holds jobs, which no process keeps open; use batch-bridge jobs, or your own program"
    if status.owner.alive is False:
        return (
            f"{status.file} is owned by no process that could do it now. Start its program again: it continues where "
            "it stopped, and then give the command again"
        )
    return None


def answer(name: str | os.PathLike[str], command_id: str) -> FileCommand | None:
    """Return the state of a command; `None` if no command has this id."""
    with read_only(name) as connection:
        sql = "SELECT value FROM store WHERE prefix = ? AND key = ?"
        found = connection.execute(sql, (COMMANDS, command_id)).fetchone()
    return None if found is None else read_command(command_id, orjson.loads(found[0]))


def wait_for(name: str | os.PathLike[str], command_id: str, seconds: float) -> FileCommand | None:
    """Wait until a command was carried out; return it as it is by then."""
    end = monotonic() + seconds
    while (command := answer(name, command_id)) is not None and command.state == "asked" and monotonic() < end:
        sleep(_LOOK_AGAIN)
    return command
