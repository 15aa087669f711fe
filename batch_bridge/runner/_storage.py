"""Where a Runner keeps its checkpoints and its ledgers: in its file, in memory, or in what it was given."""

import contextlib
import os
from collections.abc import Iterable
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.store.base import BaseStore
from langgraph.store.memory import InMemoryStore

from batch_bridge._ledger.in_memory import MemoryRows
from batch_bridge._ledger.rows import Rows
from batch_bridge._sqlite.file import open_file
from batch_bridge._sqlite.serde import StrictSerializer
from batch_bridge.runner._state_types import types_of


class Storage:
    """The checkpointer and the store of a Runner. The arguments are those of `Runner`.

    Raises:
        TypeError: `graph` is not a graph, or there are two checkpointers.
    """

    def __init__(
        self,
        graph: Any,
        *,
        path: str | os.PathLike[str],
        checkpointer: BaseCheckpointSaver[Any] | None,
        store: BaseStore | None,
        types: Iterable[type],
    ) -> None:
        self._graph = graph
        self._own_saver = _own_saver(graph)
        self._path = path
        self._saver = checkpointer
        self._store = store
        self._types = set(types)
        if checkpointer is not None and self._own_saver is not None:
            raise TypeError("Runner got checkpointer= and a graph that was compiled with one; leave one of the two out")

    @property
    def place(self) -> str:
        """Where the ledgers are, for a log."""
        return "a store" if self._store is not None else os.fspath(self._path)

    @property
    def file(self) -> str:
        """The file with the ledgers; empty without one."""
        return os.fspath(self._path) if self._store is None else ""

    @property
    def is_shared(self) -> bool:
        """Whether others may use the ledgers at the same time."""
        return self._store is not None

    @property
    def has_own_saver(self) -> bool:
        """Whether the graph has a checkpointer of its own, which it keeps."""
        return self._own_saver is not None

    async def open(self, stack: contextlib.AsyncExitStack) -> tuple[BaseCheckpointSaver[Any], Rows]:
        """Return the checkpointer and the store; what of it is the Runner's own is closed with the stack.

        Raises:
            RunFileError: The file is damaged, open elsewhere, or unreachable.
        """
        saver, store = self._saver or self._own_saver, self._store
        if saver is not None and store is not None:
            return saver, store
        if os.fspath(self._path) == ":memory:":
            return saver or InMemorySaver(), store or MemoryRows()
        own_saver, own_store = await stack.enter_async_context(
            open_file(self._path, serde=StrictSerializer(types_of(self._graph) | self._types))
        )
        return saver or own_saver, store or own_store


def is_volatile(saver: BaseCheckpointSaver[Any], store: Rows) -> bool:
    """Return whether checkpoints or ledgers end with this process."""
    return isinstance(saver, InMemorySaver) or isinstance(store, MemoryRows | InMemoryStore)


def _own_saver(graph: Any) -> BaseCheckpointSaver[Any] | None:
    if hasattr(graph, "compile") and not hasattr(graph, "ainvoke"):
        return None
    if not hasattr(graph, "ainvoke") or not hasattr(graph, "aget_state"):
        raise TypeError(f"Runner got {graph!r} instead of a graph; pass a StateGraph, or the result of its compile()")
    saver = getattr(graph, "checkpointer", None)
    return saver if isinstance(saver, BaseCheckpointSaver) else None
