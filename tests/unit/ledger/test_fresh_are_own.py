"""What is read of outcomes that were just written is the reader's own, and is not kept over a change of owners."""

from fakes import FakeStore

from batch_bridge._core.models import Succeeded
from batch_bridge._ledger.make import budgeted


async def test_an_answer_that_two_requests_share_is_changed_by_neither_for_the_other():
    ledger = budgeted(FakeStore(), "bridge")
    answer = {"words": ["one"]}
    await ledger.settle({"a": Succeeded(answer), "b": Succeeded(answer)})
    read = await ledger.outcomes(["a", "b"])
    read["a"].answer["words"].append("two")
    assert read["b"].answer == answer == {"words": ["one"]}


async def test_what_another_process_has_changed_is_read_from_the_store():
    store = FakeStore()
    ledger, other = budgeted(store, "bridge"), budgeted(store, "bridge")
    await ledger.settle({"a": Succeeded("old")})
    await other.settle({"a": Succeeded("new")})
    await ledger.read_attempts()
    assert await ledger.outcomes(["a"]) == {"a": Succeeded("new")}
