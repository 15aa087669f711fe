"""Listing checkpoints in pages, so that no snapshot is held while the caller looks at them."""

import sqlite3
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.sqlite.utils import search_where

from batch_bridge._sqlite.checkpoints import checkpoint_config, read_checkpoint

PAGE = 32
"""How many checkpoints are read and decoded at a time."""

Key = tuple[str, str, str]


def list_pages(
    connection: sqlite3.Connection,
    config: RunnableConfig | None,
    filter: dict[str, Any] | None,  # noqa: A002 LangGraph's name
    before: RunnableConfig | None,
    limit: int | None,
) -> list[list[Key]]:
    """Return the keys of the checkpoints that match, newest first, in pages."""
    where, parameters = search_where(config, filter, before)
    keys = connection.execute(
        f"SELECT thread_id, checkpoint_ns, checkpoint_id FROM checkpoints {where} "  # noqa: S608 LangGraph's
        "ORDER BY checkpoint_id DESC LIMIT ?",
        (*parameters, -1 if limit is None else int(limit)),
    ).fetchall()
    return [keys[start : start + PAGE] for start in range(0, len(keys), PAGE)]


def read_page(connection: sqlite3.Connection, serde: SerializerProtocol, page: list[Key]) -> list[CheckpointTuple]:
    """Read the checkpoints of a page; those that are gone by now are left out."""
    found = (read_checkpoint(connection, serde, checkpoint_config(*key)) for key in page)
    return [checkpoint for checkpoint in found if checkpoint is not None]
