"""A wake-up for the owner of a file: a row that has it look at batches at once. A receiver of webhooks writes it.

It is a command like others, but no caller waits for its result, so the owner deletes the row.
"""

import os
import sqlite3
import uuid
from collections.abc import Collection, Mapping
from contextlib import closing
from pathlib import Path
from time import time
from typing import Any, Final

import orjson

from batch_bridge._sqlite.error_text import advice
from batch_bridge._status.file import read_only
from batch_bridge._status.names import COMMANDS, OWNER, STATUS
from batch_bridge._status.owner import owner_of
from batch_bridge.errors import RunFileError

POLL: Final = "poll"
"""The verb of such a command."""
_BUSY_SECONDS: Final = 5.0
_PUT: Final = (
    "INSERT INTO store (prefix, key, value, created_at, updated_at) "
    "VALUES (?, ?, ?, CURRENT_TIMESTAMP, CURRENT_TIMESTAMP)"
)


def wake_owner(name: str | os.PathLike[str], names: Collection[str] | None) -> bool:
    """Have the owner of a file look at batches within a second; return whether the file has one.

    A file without an owner is left as it is: who opens it next looks at all its batches first.

    Args:
        name: The file.
        names: The provider's ids of the batches; `None`: all.

    Raises:
        RunFileError: The file is not there, no such file, or cannot be written.
    """
    path = Path(name).absolute()
    with read_only(path) as connection:
        found = connection.execute("SELECT value FROM store WHERE prefix = ? AND key = ?", (STATUS, OWNER)).fetchone()
    if found is None or owner_of(path, orjson.loads(found[0]), time()).alive is False:
        return False
    row: dict[str, Any] = {"verb": POLL, "target": {}, "state": "asked", "at": time()}
    if names is not None:
        row["names"] = list(names)
    try:
        with closing(sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)) as connection:
            connection.execute(_PUT, (COMMANDS, uuid.uuid4().hex, orjson.dumps(row)))
    except sqlite3.Error as error:
        what = advice(error, damaged="Restore it from a copy.")
        raise RunFileError(f"{path}: the wake-up could not be written: {error}. {what}") from error
    return True


def named_in(row: Mapping[str, Any]) -> list[str] | None:
    """Return the batches that a row names; `None`: all."""
    names: list[str] | None = row.get("names")
    return names
