"""The checkpointer of a leg: it writes while the leg is its thread's last one, and nothing after that.

A process that hangs is taken for dead, and its leg is run by another one. When it wakes up, it would write where the
other has written: the thread would ask for something else than what is being paid for.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import ChannelVersions, Checkpoint, CheckpointMetadata
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg_pool import AsyncConnectionPool

from batch_bridge.errors import LegLostError


class LegSaver(AsyncPostgresSaver):
    """Reads as `AsyncPostgresSaver` does; each write is one transaction in which the leg's token is the thread's.

    Args:
        connections: Where the checkpoints and the threads are.
        thread: The thread of the leg.
        token: The leg's; see `ThreadTable.take`.
    """

    def __init__(self, connections: "AsyncConnectionPool[Any]", thread: str, token: str) -> None:
        super().__init__(connections)
        self._leg = (connections, thread, token)

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
        async with self._writing() as saver:
            return await saver.aput(config, checkpoint, metadata, new_versions)

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """See `AsyncPostgresSaver`.

        Raises:
            LegLostError: Another process runs the thread.
        """
        async with self._writing() as saver:
            await saver.aput_writes(config, writes, task_id, task_path)

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[AsyncPostgresSaver]:
        """Yield a saver whose writes are there only if no other leg takes the thread before they are."""
        connections, thread, token = self._leg
        async with connections.connection() as connection, connection.transaction():
            cursor = await connection.execute(
                "SELECT 1 FROM batch_bridge_threads WHERE thread = %s AND token = %s FOR SHARE", (thread, token)
            )
            if await cursor.fetchone() is None:
                raise LegLostError(
                    f"thread {thread!r} is run by another process: this one said nothing for so long that it was taken "
                    "for dead. It changes nothing any more. Keep nodes from blocking the event loop: asyncio.to_thread"
                )
            yield AsyncPostgresSaver(connection, serde=self.serde)
