"""A ledger that is gone for good while a thread asks it: the run ends with its error, and no thread has failed."""

import pytest
from helpers import Desk, one_node, within
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.store.base import GetOp, PutOp
from langgraph.store.memory import InMemoryStore

from batch_bridge import Runner, wait
from batch_bridge.errors import RequestFailed

FAILURES = "batch_bridge_failures"


class GoneStore(InMemoryStore):
    """Once it is gone, operations of a kind on the failures of threads fail."""

    def __init__(self, kind, *, is_gone):
        super().__init__()
        self.kind, self.is_gone = kind, is_gone

    async def abatch(self, ops):
        held = list(ops)
        if self.is_gone and any(isinstance(each, self.kind) and each.namespace == (FAILURES,) for each in held):
            raise ConnectionError("the ledger is gone")
        return await super().abatch(held)


async def ask(state):
    return {"out": [await wait(state["x"])]}


async def run(kept, desk, inputs):
    async with Runner(one_node(ask), desk.bridge(linger=0), progress=False, store_patience=0.05, **kept) as runner:
        return await within(runner.abatch(inputs, run_id="r", return_exceptions=True))


async def test_threads_that_begin_have_not_failed():
    store, desk, inputs = GoneStore(GetOp, is_gone=True), Desk(), [{"x": "a"}, {"x": "b"}]
    kept = {"store": store, "checkpointer": InMemorySaver()}
    with pytest.raises(ConnectionError, match="is gone") as raised:
        await run(kept, desk, inputs)
    assert "the same command" in raised.value.__notes__[0]
    store.is_gone = False
    assert await store.asearch((FAILURES,)) == []
    assert [each["out"] for each in await run(kept, desk, inputs)] == [["a!"], ["b!"]]
    assert desk.counts == {"a": 1, "b": 1}


async def test_a_thread_that_ends_has_not_failed():
    """One that has failed before forgets that as it ends."""
    broken = [RuntimeError("no")]
    desk = Desk(lambda item: broken.pop() if broken else f"{item}!")
    store = GoneStore(PutOp, is_gone=False)
    kept = {"store": store, "checkpointer": InMemorySaver()}
    assert isinstance((await run(kept, desk, [{"x": "a"}]))[0], RequestFailed)
    store.is_gone = True
    with pytest.raises(ConnectionError, match="is gone"):
        await run(kept, desk, [{"x": "a"}])
    store.is_gone = False
    assert [each["out"] for each in await run(kept, desk, [{"x": "a"}])] == [["a!"]]
    assert desk.counts == {"a": 2}
    assert await store.asearch((FAILURES,)) == []
