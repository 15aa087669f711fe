"""What a person can do about an error of SQLite. Pure."""

import sqlite3


def advice(error: sqlite3.Error, damaged: str) -> str:
    """Return the next action.

    Args:
        error: What SQLite raised.
        damaged: What to do with a file that is no database.
    """
    match getattr(error, "sqlite_errorcode", 0) & 0xFF:
        case sqlite3.SQLITE_NOTADB | sqlite3.SQLITE_CORRUPT:
            return f"It is not an SQLite database, or it is damaged. {damaged}"
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return "Another program has locked it. Close that program, then try again."
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            return "This process may not write it. Change its permissions, or name another file."
        case sqlite3.SQLITE_FULL | sqlite3.SQLITE_IOERR:
            return "The disk is full or failing. Make room, or name a file on another disk."
        case _:
            return "Name another file, or inspect it with the sqlite3 command."
