"""The checkpointer."""

import asyncio
import builtins
import random
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
)
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.sqlite import SqliteSaver

from batch_bridge._sqlite import cleanup
from batch_bridge._sqlite.checkpoints import (
    CHECKPOINTS,
    SIGNALS,
    WRITES,
    checkpoint_row,
    read_checkpoint,
    write_rows,
)
from batch_bridge._sqlite.listing import Key, list_pages, read_page
from batch_bridge._sqlite.readers import Readers
from batch_bridge._sqlite.writer import Writer

if TYPE_CHECKING:
    from langgraph.checkpoint.base import DeltaChannelHistory  # new in langgraph-checkpoint 4.1


class GroupedSqliteSaver(BaseCheckpointSaver[str]):
    """A checkpointer whose writes, of all threads together, are committed in groups.

    Tables and encodings are those of `langgraph.checkpoint.sqlite.aio.AsyncSqliteSaver`: either can open the
    other's file. Every write returns once it is on disk. One thread alone is no faster than with LangGraph's
    saver; many threads side by side share their commits.

    The methods without an `a` block the calling thread, which may be that of an event loop, until the write
    is on disk. They wait for the writer thread only, and never for an event loop.

    Args:
        writer: The thread that writes the file.
        readers: Connections to the same file.
        serde: How values are encoded.
    """

    def __init__(self, writer: Writer, readers: Readers, *, serde: SerializerProtocol | None = None) -> None:
        super().__init__(serde=serde)
        self._writer = writer
        self._readers = readers

    # Reading. One checkpoint takes some 30 µs, less than a hop to another thread and back.

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return the checkpoint that `config` names, or the latest one of its thread and namespace."""
        readers = self._readers
        reader = readers.take()
        try:
            return read_checkpoint(reader.connection, self.serde, config)
        finally:
            readers.give_back(reader)

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """As `get_tuple`."""
        return self.get_tuple(config)

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002 LangGraph's name
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """Yield checkpoints, newest first; what is deleted meanwhile is left out."""
        for page in self._pages(config, filter, before, limit):
            yield from self._page(page)

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002 LangGraph's name
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """As `list`; the reading happens in other threads."""
        for page in await asyncio.to_thread(self._pages, config, filter, before, limit):
            for checkpoint in await asyncio.to_thread(self._page, page):
                yield checkpoint

    def get_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> "Mapping[str, DeltaChannelHistory]":
        """Return what each channel's value is rebuilt from, as LangGraph's own saver reads it."""
        with self._readers.borrow() as reader:
            saver = SqliteSaver(reader.connection, serde=self.serde)
            saver.is_setup = True
            return saver.get_delta_channel_history(config=config, channels=channels)

    async def aget_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> "Mapping[str, DeltaChannelHistory]":
        """As `get_delta_channel_history`; the reading happens in another thread."""
        return await asyncio.to_thread(self.get_delta_channel_history, config=config, channels=channels)

    def _pages(self, *where: Any) -> "builtins.list[builtins.list[Key]]":
        with self._readers.borrow() as reader:
            return list_pages(reader.connection, *where)

    def _page(self, page: "builtins.list[Key]") -> "builtins.list[CheckpointTuple]":
        with self._readers.borrow() as reader:
            return read_page(reader.connection, self.serde, page)

    # Writing.

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,  # noqa: ARG002 LangGraph's signature
    ) -> RunnableConfig:
        """Store a checkpoint; storing it again replaces it."""
        row = checkpoint_row(self.serde, config, checkpoint, metadata)
        await self._writer.insert(CHECKPOINTS, (row,))
        return _stored(config, checkpoint)

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,  # noqa: ARG002 LangGraph's signature
    ) -> RunnableConfig:
        """As `aput`, blocking."""
        row = checkpoint_row(self.serde, config, checkpoint, metadata)
        self._writer.insert_blocking(CHECKPOINTS, (row,))
        return _stored(config, checkpoint)

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Store what a task wrote; what it wrote before stays, but the newest interrupt or error counts."""
        rows = write_rows(self.serde, config, writes, task_id, task_path)
        signals = sum(channel in WRITES_IDX_MAP for channel, _ in writes)
        if signals == len(rows):
            await self._writer.insert(SIGNALS, rows)
        elif not signals:
            await self._writer.insert(WRITES, rows)
        else:
            await self._writer.call(lambda connection: WRITES.run(connection, rows))

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """As `aput_writes`, blocking."""
        rows = write_rows(self.serde, config, writes, task_id, task_path)
        insert = SIGNALS if all(channel in WRITES_IDX_MAP for channel, _ in writes) else WRITES
        self._writer.call_blocking(lambda connection: insert.run(connection, rows))

    async def adelete_thread(self, thread_id: str) -> None:
        """Delete a thread's checkpoints and pending writes; one that does not exist is no error."""
        await self._writer.call(partial(cleanup.delete_thread, thread_id=str(thread_id)))

    def delete_thread(self, thread_id: str) -> None:
        """As `adelete_thread`, blocking."""
        self._writer.call_blocking(partial(cleanup.delete_thread, thread_id=str(thread_id)))

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Delete the checkpoints that these runs made, and their pending writes."""
        await self._writer.call(partial(cleanup.delete_runs, run_ids=list(run_ids)))

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """As `adelete_for_runs`, blocking."""
        self._writer.call_blocking(partial(cleanup.delete_runs, run_ids=list(run_ids)))

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy a thread whole, all ancestors included."""
        copy = partial(cleanup.copy_thread, source=str(source_thread_id), target=str(target_thread_id))
        await self._writer.call(copy)

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """As `acopy_thread`, blocking."""
        copy = partial(cleanup.copy_thread, source=str(source_thread_id), target=str(target_thread_id))
        self._writer.call_blocking(copy)

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Keep the latest checkpoint of each namespace, or nothing (`strategy="delete"`), of these threads.

        All of them are pruned, or none.

        Raises:
            NotImplementedError: A thread uses a `DeltaChannel`: its value needs the older checkpoints.
            ValueError: There is no such strategy.
        """
        await self._writer.call(cleanup.prune(thread_ids, strategy))

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """As `aprune`, blocking."""
        self._writer.call_blocking(cleanup.prune(thread_ids, strategy))

    def get_next_version(self, current: str | None, channel: None) -> str:  # noqa: ARG002
        """Return a version that sorts after `current`, in the form that LangGraph's savers use."""
        number = 0 if current is None else int(str(current).split(".", 1)[0])
        return f"{number + 1:032}.{random.random():016}"  # noqa: S311 it only keeps branches apart


def _stored(config: RunnableConfig, checkpoint: Checkpoint) -> RunnableConfig:
    configurable = config["configurable"]
    return {
        "configurable": {
            "thread_id": configurable["thread_id"],
            "checkpoint_ns": configurable.get("checkpoint_ns", ""),
            "checkpoint_id": checkpoint["id"],
        }
    }
