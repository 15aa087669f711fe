"""The checkpointer of a leg: it writes while the leg is its thread's last one, and nothing after that.

A process that hangs is taken for dead, and its leg is run by another one. When it wakes up, it would write where the
other has written: the thread would ask for something else than what is being paid for.
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, NamedTuple, TypeAlias

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    copy_checkpoint,
    get_checkpoint_id,
)
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.serde.base import SerializerProtocol
from psycopg_pool import AsyncConnectionPool

from batch_bridge.errors import LegLostError
from batch_bridge.pool._grouped import Grouped

Write: TypeAlias = Callable[[AsyncPostgresSaver], Awaitable[Any]]


class _LegWrite(NamedTuple):
    thread: str
    token: str
    serde: SerializerProtocol
    write: Write


_LOST: Final = object()
"""The result of a write whose leg is not its thread's last one."""


class LegWrites:
    """The writes of all legs of a process: those that come at the same time are one transaction.

    Args:
        connections: Where the checkpoints and the threads are.
    """

    def __init__(self, connections: "AsyncConnectionPool[Any]") -> None:
        self._connections = connections
        self._writes: Grouped[_LegWrite, Any] = Grouped(self._run)

    async def write(self, thread: str, token: str, serde: SerializerProtocol, write: Write) -> Any:
        """Write for a leg, and return what the write returned.

        Args:
            thread: The leg's.
            token: The leg's; see `ThreadTable.take`.
            serde: Of the checkpointer that it writes with.
            write: Called with a checkpointer. What it writes is there only if no other leg takes the thread before.

        Raises:
            LegLostError: Another process runs the thread. Nothing was written.
        """
        result = await self._writes.do(_LegWrite(thread, token, serde, write))
        if result is _LOST:
            raise LegLostError(
                f"thread {thread!r} is run by another process: this one said nothing for so long that it was taken "
                "for dead. It changes nothing any more. Keep nodes from blocking the event loop: asyncio.to_thread"
            )
        return result

    async def settle(self) -> None:
        """Wait until nothing is written any more."""
        await self._writes.settle()

    async def _run(self, writes: list[_LegWrite]) -> list[Any]:
        async with self._connections.connection() as connection, connection.transaction():
            legs = sorted({(each.thread, each.token) for each in writes})
            cursor = await connection.execute(
                "SELECT t.thread, t.token FROM batch_bridge_threads t "
                "JOIN unnest(%s::text[], %s::text[]) AS leg(thread, token) USING (thread, token) "
                "ORDER BY t.thread FOR SHARE OF t",
                ([thread for thread, _ in legs], [token for _, token in legs]),
            )
            held = {(row["thread"], row["token"]) for row in await cursor.fetchall()}
            return [
                await each.write(AsyncPostgresSaver(connection, serde=each.serde))
                if (each.thread, each.token) in held
                else _LOST
                for each in writes
            ]


class LegToken:
    """A leg's hold of its thread, and what it has read of its checkpoints.

    Args:
        thread: The thread.
        token: See `ThreadTable.take`.
    """

    def __init__(self, thread: str, token: str) -> None:
        self.thread = thread
        self.token = token
        self.known: dict[tuple[str, str, str | None], CheckpointTuple | None] = {}
        self.writes = 0
        """How often it has begun to write, or ended: it has come further than where it found its thread."""

    def forget(self) -> None:
        """Forget what was read: something is written."""
        self.writes += 1
        self.known.clear()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Be the leg of what runs in this block, and of the tasks that begin in it."""
        reset = _LEG.set(self)
        try:
            yield
        finally:
            _LEG.reset(reset)


_LEG: ContextVar[LegToken] = ContextVar("batch_bridge_leg")


class LegSaver(AsyncPostgresSaver):
    """Reads and writes as `AsyncPostgresSaver` does, for the leg that it is called in, while that holds its thread.

    What a leg has read it does not read again before it writes: nobody else writes the checkpoints of a thread that it
    holds, and a leg that does not hold its thread any more can write nothing that comes of it.

    Args:
        connections: Where the checkpoints and the threads are.
        writes: Those of all legs of this process.
    """

    def __init__(self, connections: "AsyncConnectionPool[Any]", writes: LegWrites) -> None:
        super().__init__(connections)
        self._writes = writes

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """See `AsyncPostgresSaver`. The caller may change what it is given."""
        leg, configurable = _LEG.get(), config["configurable"]
        key = (str(configurable["thread_id"]), configurable.get("checkpoint_ns", ""), get_checkpoint_id(config))
        if key not in leg.known:
            writes = leg.writes
            saved = await self._read(config)
            if writes != leg.writes:  # something may have been written after it was read
                return saved
            leg.known[key] = saved
        held = leg.known[key]
        if held is None:
            return None
        return held._replace(
            checkpoint=copy_checkpoint(held.checkpoint),
            metadata=held.metadata.copy(),
            pending_writes=None if held.pending_writes is None else list(held.pending_writes),
        )

    async def _read(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Read with a checkpointer of one's own: one of `AsyncPostgresSaver` does one thing after the other."""
        return await AsyncPostgresSaver(self.conn, serde=self.serde).aget_tuple(config)

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """See `AsyncPostgresSaver`.

        Raises:
            LegLostError: Another process runs the thread.
        """
        written: RunnableConfig = await self._write(lambda to: to.aput(config, checkpoint, metadata, new_versions))
        return written

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """See `AsyncPostgresSaver`.

        Raises:
            LegLostError: Another process runs the thread.
        """
        await self._write(lambda to: to.aput_writes(config, writes, task_id, task_path))

    async def _write(self, write: Write) -> Any:
        leg = _LEG.get()
        leg.forget()
        try:
            return await self._writes.write(leg.thread, leg.token, self.serde, write)
        finally:
            leg.forget()
