"""The SQLite file of a Runner: a checkpointer and a store, behind one writer that commits in groups."""

from batch_bridge._sqlite._file import RunFile, open_file
from batch_bridge._sqlite._saver import GroupedSqliteSaver
from batch_bridge._sqlite._serde import StrictSerializer
from batch_bridge._sqlite._store import GroupedSqliteStore
from batch_bridge._sqlite._writer import Writer

__all__ = ["GroupedSqliteSaver", "GroupedSqliteStore", "RunFile", "StrictSerializer", "Writer", "open_file"]
