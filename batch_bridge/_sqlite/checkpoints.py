"""Checkpoints and pending writes as the rows of LangGraph's own SQLite saver."""

import json
import sqlite3
from collections.abc import Sequence
from operator import itemgetter
from typing import Any, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    PendingWrite,
    get_checkpoint_metadata,
)
from langgraph.checkpoint.serde.base import SerializerProtocol

from batch_bridge._sqlite.insertion import Insert, Row

_CHECKPOINT_COLUMNS = "thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata"
_WRITE_COLUMNS = "thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, value"

CHECKPOINTS = Insert(f"INSERT OR REPLACE INTO checkpoints ({_CHECKPOINT_COLUMNS}) VALUES", "(?, ?, ?, ?, ?, ?, ?)")
WRITES = Insert(f"INSERT OR IGNORE INTO writes ({_WRITE_COLUMNS}) VALUES", "(?, ?, ?, ?, ?, ?, ?, ?, ?)")
"""What tasks wrote: what a task has written once stays."""
SIGNALS = Insert(f"INSERT OR REPLACE INTO writes ({_WRITE_COLUMNS}) VALUES", "(?, ?, ?, ?, ?, ?, ?, ?, ?)")
"""Errors, interrupts and answers: the newest one of a task counts."""

_SELECT_CHECKPOINT = (
    "SELECT checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata FROM checkpoints "
    "WHERE thread_id = ? AND checkpoint_ns = ?"
)
_SELECT_NAMED = f"{_SELECT_CHECKPOINT} AND checkpoint_id = ?"
_SELECT_LATEST = f"{_SELECT_CHECKPOINT} ORDER BY checkpoint_id DESC LIMIT 1"
_SELECT_WRITES = (
    "SELECT task_id, channel, type, value, task_path, idx FROM writes "
    "WHERE thread_id = ? AND checkpoint_ns = ? AND checkpoint_id = ?"
)

_in_order = itemgetter(4, 0, 5)  # path, task, index: the order in which LangGraph applies what tasks wrote
_encode_json = json.JSONEncoder(ensure_ascii=False).encode


def checkpoint_row(
    serde: SerializerProtocol, config: RunnableConfig, checkpoint: Checkpoint, metadata: CheckpointMetadata
) -> Row:
    """Encode a checkpoint, byte for byte as LangGraph's saver does."""
    configurable = config["configurable"]
    kind, blob = serde.dumps_typed(checkpoint)
    return (
        str(configurable["thread_id"]),
        configurable.get("checkpoint_ns", ""),
        checkpoint["id"],
        configurable.get("checkpoint_id"),
        kind,
        blob,
        _encode_json(get_checkpoint_metadata(config, metadata)).encode("utf-8", "ignore"),
    )


def write_rows(
    serde: SerializerProtocol,
    config: RunnableConfig,
    writes: Sequence[tuple[str, Any]],
    task_id: str,
    task_path: str,
) -> list[Row]:
    """Encode what a task wrote, byte for byte as LangGraph's saver does."""
    configurable = config["configurable"]
    thread_id = str(configurable["thread_id"])
    namespace = str(configurable.get("checkpoint_ns", ""))
    checkpoint_id = str(configurable["checkpoint_id"])
    return [
        (
            thread_id,
            namespace,
            checkpoint_id,
            task_id,
            task_path,
            WRITES_IDX_MAP.get(channel, index),
            channel,
            *serde.dumps_typed(value),
        )
        for index, (channel, value) in enumerate(writes)
    ]


def read_checkpoint(
    connection: sqlite3.Connection, serde: SerializerProtocol, config: RunnableConfig
) -> CheckpointTuple | None:
    """Read the checkpoint that `config` names, or the latest one of its thread and namespace."""
    configurable = config["configurable"]
    thread_id = str(configurable["thread_id"])
    namespace = configurable.get("checkpoint_ns", "")
    if checkpoint_id := configurable.get("checkpoint_id"):
        rows = connection.execute(_SELECT_NAMED, (thread_id, namespace, checkpoint_id)).fetchall()
    else:
        rows = connection.execute(_SELECT_LATEST, (thread_id, namespace)).fetchall()
    if not rows:
        return None
    checkpoint_id, parent_id, kind, blob, metadata = rows[0]
    return CheckpointTuple(
        config if configurable.get("checkpoint_id") else checkpoint_config(thread_id, namespace, checkpoint_id),
        serde.loads_typed((kind, blob)),
        cast(CheckpointMetadata, json.loads(metadata) if metadata is not None else {}),
        checkpoint_config(thread_id, namespace, parent_id) if parent_id else None,
        _read_writes(connection, serde, (thread_id, namespace, checkpoint_id)),
    )


def _read_writes(
    connection: sqlite3.Connection, serde: SerializerProtocol, key: tuple[str, str, str]
) -> list[PendingWrite]:
    rows = connection.execute(_SELECT_WRITES, key).fetchall()
    rows.sort(key=_in_order)
    return [(task, channel, serde.loads_typed((kind, value))) for task, channel, kind, value, _, _ in rows]


def checkpoint_config(thread_id: str, namespace: str, checkpoint_id: str) -> RunnableConfig:
    """Name a checkpoint as LangGraph does."""
    return {
        "configurable": {
            "thread_id": thread_id,
            "checkpoint_ns": namespace,
            "checkpoint_id": checkpoint_id,
        }
    }
