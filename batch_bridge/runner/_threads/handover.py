"""A checkpoint that was read before a leg is not read again by the leg.

Before a Runner starts a thread, or resumes it, it looks at the thread's newest checkpoint. LangGraph begins the leg
with the same read, of which nothing can have changed: one call drives a thread at a time. So what was read is put into
the `Link` of the leg, and the checkpointer that the graph is given hands it over, once.
"""

from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple
from langgraph.checkpoint.memory import InMemorySaver

from batch_bridge._node.step_limits import LINK


def handing_over(saver: BaseCheckpointSaver[Any]) -> BaseCheckpointSaver[Any]:
    """Return a checkpointer that first hands over what a leg's `Link` holds. It is the same one otherwise.

    One in memory is returned as it is, and one whose attributes are not its own to share.
    """
    kind = type(saver)
    if kind is InMemorySaver or not hasattr(saver, "__dict__"):
        return saver
    read = kind.aget_tuple

    async def aget_tuple(self: BaseCheckpointSaver[Any], config: RunnableConfig) -> CheckpointTuple | None:
        configurable = config["configurable"]
        link = configurable.get(LINK)
        if (
            link is None
            or link.loaded is None
            or configurable.get("checkpoint_id")
            or configurable.get("checkpoint_ns")
        ):
            return await read(self, config)
        (saved,), link.loaded = link.loaded, None
        held: CheckpointTuple | None = saved
        return held

    twin: BaseCheckpointSaver[Any] = object.__new__(
        type(kind.__name__, (kind,), {"aget_tuple": aget_tuple, "__module__": kind.__module__})
    )
    twin.__dict__ = saver.__dict__
    return twin
