"""LangGraph's saver in memory behind the network: it outlives processes, and its calls fail."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
)
from langgraph.checkpoint.memory import InMemorySaver

from simulation.world import World


class SimSaver(BaseCheckpointSaver[Any]):
    """What it writes, it writes at one moment."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world
        self.kept = InMemorySaver()

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        return await self._world.call("saver", "get", lambda: self.kept.get_tuple(config))

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        return await self._world.call("saver", "put", lambda: self.kept.put(config, checkpoint, metadata, new_versions))

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        await self._world.call("saver", "put writes", lambda: self.kept.put_writes(config, writes, task_id, task_path))

    async def adelete_thread(self, thread_id: str) -> None:
        await self._world.call("saver", "delete", lambda: self.kept.delete_thread(thread_id))

    async def alist(self, config: RunnableConfig | None, **named: Any) -> AsyncIterator[CheckpointTuple]:
        for each in await self._world.call("saver", "list", lambda: list(self.kept.list(config, **named))):
            yield each

    def get_next_version(self, current: Any, channel: Any = None) -> Any:
        return self.kept.get_next_version(current, None)
