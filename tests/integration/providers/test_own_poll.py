"""The user's own `submit` and `poll`: what is at the provider was paid for, and only what it says ends it."""

import asyncio
import logging
import random

import pytest
from helpers import Desk, memory, one_node, run, within

from batch_bridge import Batcher, BatchFailed, Bridge, RequestExpired, RequestFailed, Runner, wait
from batch_bridge.errors import BadPollResultError
from batch_bridge.events import PollFailed


async def ask(state):
    return {"out": [await wait(state["x"])]}


INPUTS = [{"x": each} for each in "abc"]


class Blip:
    """A desk whose first looks fail."""

    def __init__(self, *errors):
        self.desk = Desk()
        self.errors = list(errors)

    async def poll(self, handle):
        if self.errors:
            raise self.errors.pop(0)
        return await self.desk.poll(handle)

    def bridge(self, **options):
        return self.desk.bridge(poll=self.poll, **options)


async def test_a_poll_that_raises_could_not_look_and_is_asked_again(caplog):
    blip, told = Blip(ConnectionError("no route"), KeyError("results"), ConnectionError("no route")), []
    bridge = blip.bridge(on_event=lambda event: told.append(event) if isinstance(event, PollFailed) else None)
    results = await run(one_node(ask), bridge, inputs=INPUTS)
    assert [each["out"] for each in results] == [["a!"], ["b!"], ["c!"]]
    assert blip.desk.sizes == [3]
    assert [(each.error, each.failures) for each in told] == [
        ("ConnectionError: no route", 1),
        ("KeyError: 'results'", 2),
        ("ConnectionError: no route", 3),
    ]
    traced = [record.exc_info[0] for record in caplog.records if record.exc_info]
    assert traced == [ConnectionError, KeyError], "each kind once"


def test_a_batcher_waits_for_a_poll_that_raises_sync_too():
    attempts = []

    def poll(handle):
        attempts.append(handle)
        if len(attempts) < 3:
            raise TimeoutError("slow")
        return [f"{item}!" for item in handle]

    with Batcher(submit_func=list, poll_func=poll, poll_interval=0.02) as batcher:
        assert batcher.map(["a", "b"]) == ["a!", "b!"]


async def test_after_the_patience_its_requests_fail_and_are_told_what_it_may_have_cost():
    bridge = Blip(*[ConnectionError("no route")] * 10_000).bridge(poll_patience=0.1)
    for error in await run(one_node(ask), bridge, inputs=INPUTS, return_exceptions=True):
        assert isinstance(error, RequestFailed)
        assert error.code == "poll_failed"
        assert "may still have been answered and billed" in str(error)
        assert "no route" in str(error)


@pytest.mark.parametrize("given", [0, -1, None])
def test_a_patience_is_positive(given):
    with pytest.raises(ValueError, match="poll_patience"):
        Bridge(submit=list, poll=list, poll_patience=given)


async def test_a_mended_poll_collects_what_the_one_before_could_not(tmp_path):
    blip = Blip(*[KeyError("results")] * 10_000)
    graph, path = one_node(ask), tmp_path / "run.db"
    async with Runner(graph, blip.bridge(), path=path, progress=False) as runner:
        running = asyncio.create_task(runner.abatch(INPUTS, run_id="r"))
        await within(blip.desk.submitted.wait())
        while len(blip.errors) > 9_990:
            await asyncio.sleep(0.01)
        running.cancel()
    blip.errors.clear()
    async with Runner(graph, blip.bridge(), path=path, progress=False) as runner:
        assert [each["out"] for each in await within(runner.abatch(INPUTS, run_id="r"))] == [["a!"], ["b!"], ["c!"]]
    assert blip.desk.sizes == [3], "paid once"


@pytest.mark.parametrize(
    "bad",
    [["x"], list("wxyz"), "done", 7, {"7": "x"}, {}, {"line-1": "x"}],
    ids=["too few", "too many", "a string", "a number", "no such position", "nothing", "no such id"],
)
async def test_a_result_of_the_wrong_form_ends_the_run_and_its_batch_waits_for_a_mended_poll(bad, tmp_path):
    desk, graph, path = Desk(), one_node(ask), tmp_path / "run.db"
    async with Runner(graph, desk.bridge(poll=lambda handle: bad), path=path, progress=False) as runner:
        with pytest.raises(BadPollResultError, match="The batch stays in flight"):
            await within(runner.abatch(INPUTS, run_id="r", return_exceptions=True))
    async with Runner(graph, desk.bridge(), path=path, progress=False) as runner:
        assert [each["out"] for each in await within(runner.abatch(INPUTS, run_id="r"))] == [["a!"], ["b!"], ["c!"]]
    assert desk.sizes == [3], "paid once"


def test_a_durable_batcher_tells_its_callers_and_collects_with_a_mended_poll(tmp_path):
    sent = []

    def submit(items):
        sent.append(items)
        return items

    options = {"submit_func": submit, "poll_interval": 0.02, "path": tmp_path / "batcher.db"}
    with (
        pytest.raises(BadPollResultError, match="a str"),
        Batcher(poll_func=lambda handle: "done", **options) as batcher,
    ):
        batcher.map(["a", "b"])
    with Batcher(poll_func=lambda handle: [f"{item}!" for item in handle], **options) as batcher:
        assert batcher.map(["a", "b"]) == ["a!", "b!"]
    assert sent == [["a", "b"]]


async def test_what_poll_returns_or_raises_as_failed_ends_the_batch():
    for failed in (lambda handle: BatchFailed("no quota"), Blip(BatchFailed("no quota")).poll):
        desk = Desk()
        errors = await run(one_node(ask), desk.bridge(poll=failed), inputs=INPUTS, return_exceptions=True)
        assert [(type(each), each.code) for each in errors] == [(RequestFailed, "batch_failed")] * 3
        assert desk.sizes == [3]


async def test_lines_that_were_shuffled_go_by_the_ids_of_the_items():
    """What the README says of a provider that shuffles its lines."""
    batches = {}

    def submit(items):
        batches["batch-1"] = random.sample(items, len(items))
        return "batch-1"

    def poll(handle):
        return {line["custom_id"]: line["text"].upper() for line in batches[handle]}

    inputs = [{"x": {"custom_id": f"line-{n}", "text": f"text {n}"}} for n in range(50)]
    results = await run(one_node(ask), Bridge(submit=submit, poll=poll, poll_interval=0.02), inputs=inputs)
    assert [each["out"] for each in results] == [[f"TEXT {n}"] for n in range(50)]


async def test_a_submit_without_a_handle_fails_its_requests_and_hangs_nobody():
    errors = await run(one_node(ask), Desk().bridge(submit=lambda items: None), inputs=INPUTS, return_exceptions=True)
    assert [each.code for each in errors] == ["no_handle"] * 3
    assert "submit() returned None" in str(errors[0])


# -- deadlines ---------------------------------------------------------------------------------------------------------


async def test_what_is_late_at_a_pair_expires_and_may_have_been_billed():
    desk = Desk().hold()
    bridge = desk.bridge(deadline=0.2)
    errors = await run(one_node(ask), bridge, inputs=INPUTS, return_exceptions=True)
    assert [type(each) for each in errors] == [RequestExpired] * 3
    assert "it may have been billed" in str(errors[0])
    assert "fallback=" in str(errors[0])


async def test_a_request_may_have_a_deadline_of_its_own_at_a_pair():
    desk = Desk().hold()

    async def hurry(state):
        return {"out": [await wait(state["x"], deadline=0.2 if state["x"] == "b" else None)]}

    async with memory(one_node(hurry), desk.bridge()) as runner:
        ended = runner.abatch_as_completed(INPUTS, return_exceptions=True)
        index, error = await within(anext(ended))
        assert (index, type(error)) == (1, RequestExpired)
        desk.let_go()
        assert {n: each["out"] async for n, each in ended} == {0: ["a!"], 2: ["c!"]}
    assert desk.counts == {"a": 1, "b": 1, "c": 1}


async def test_what_is_late_in_the_queue_expires_unbilled():
    desk = Desk()

    def full(items):
        raise ConnectionError("never called")

    bridge = Bridge(submit=full, poll=desk.poll, poll_interval=0.02, deadline=0.1, flush=None)
    bridge._provider.submit = _full
    errors = await run(one_node(ask), bridge, inputs=INPUTS, return_exceptions=True)
    assert [type(each) for each in errors] == [RequestExpired] * 3
    assert "not billed" in str(errors[0])


async def _full(key, requests, prepared):
    from batch_bridge.errors import ProviderUnavailable

    raise ProviderUnavailable("full")


async def test_late_answers_of_an_expired_batch_harm_nothing(caplog):
    caplog.set_level(logging.INFO)
    desk = Desk().hold()
    async with memory(one_node(ask), desk.bridge(deadline=0.1)) as runner:
        errors = await within(runner.abatch(INPUTS, return_exceptions=True))
        assert {type(each) for each in errors} == {RequestExpired}
        desk.let_go()
        assert (await within(runner.ainvoke({"x": "late"})))["out"] == ["late!"]
