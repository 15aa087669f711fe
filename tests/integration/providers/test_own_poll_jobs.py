"""Jobs with the user's own `submit` and `poll`: a handle is never lost, and one job's `poll` harms no other job."""

import json
import logging

import pytest

from batch_bridge import Bridge
from batch_bridge.errors import BadPollResultError
from batch_bridge.jobs import Jobs


class Vendor:
    """Batches that end when they are told to; what `poll` says of one is set by the test."""

    def __init__(self):
        self.batches = []
        self.says = {}

    def submit(self, items):
        self.batches.append(list(items))
        return len(self.batches) - 1

    def poll(self, handle):
        said = self.says.get(handle, ...)
        if isinstance(said, Exception):
            raise said
        return [f"{item}!" for item in self.batches[handle]] if said is ... else said

    def jobs(self, tmp_path, **options):
        bridge = Bridge(submit=self.submit, poll=self.poll, poll_interval=0.01, mode="batch", **options)
        return Jobs(tmp_path / "jobs.db", bridge)


def answers(jobs, handle):
    return [each.answer for each in jobs.results(handle)]


def test_a_poll_that_is_wrong_ends_its_own_job_and_no_other(tmp_path):
    vendor = Vendor()
    vendor.says[0] = "done"
    first = vendor.jobs(tmp_path).submit(["a", "b"], key="first")
    second = vendor.jobs(tmp_path).submit(["c"], key="second")
    assert vendor.batches == [["a", "b"], ["c"]], "the second is sent though the first cannot be read"
    for ask in (
        vendor.jobs(tmp_path).status,
        vendor.jobs(tmp_path).join,
        lambda job: list(vendor.jobs(tmp_path).results(job)),
    ):
        with pytest.raises(BadPollResultError, match="a str"):
            ask(first)
    assert vendor.jobs(tmp_path).join(second).outcomes == {"succeeded": 1}
    assert answers(vendor.jobs(tmp_path), second) == ["c!"]
    status = vendor.jobs(tmp_path).cancel(second)
    assert "a str" in status.last_error
    assert vendor.jobs(tmp_path).submit(["a", "b"], key="first") == first
    vendor.says.clear()
    assert vendor.jobs(tmp_path).join(first).ended
    assert answers(vendor.jobs(tmp_path), first) == ["a!", "b!"]
    assert vendor.batches == [["a", "b"], ["c"]], "paid once"


def test_a_job_whose_poll_is_wrong_can_be_cancelled(tmp_path):
    vendor = Vendor()
    vendor.says[0] = 7
    handle = vendor.jobs(tmp_path).submit(["a"])
    assert vendor.jobs(tmp_path).cancel(handle).state == "cancelling"


def test_a_poll_that_raises_is_told_in_the_status_and_asked_again(tmp_path):
    vendor = Vendor()
    vendor.says[0] = KeyError("results")
    handle = vendor.jobs(tmp_path).submit(["a"])
    status = vendor.jobs(tmp_path).status(handle)
    assert (status.state, status.in_flight) == ("in_flight", 1)
    assert "KeyError: 'results'" in status.last_error
    vendor.says.clear()
    assert vendor.jobs(tmp_path).join(handle).outcomes == {"succeeded": 1}


def test_the_patience_runs_out_over_many_visits_too(tmp_path):
    vendor = Vendor()
    vendor.says[0] = KeyError("results")
    handle = vendor.jobs(tmp_path, poll_patience=0.05).submit(["a"])
    for _ in range(60):
        if vendor.jobs(tmp_path, poll_patience=0.05).status(handle).ended:
            break
    else:
        raise AssertionError("it is looked at for ever")
    (result,) = vendor.jobs(tmp_path).results(handle)
    assert result.outcome.code == "poll_failed"


def test_the_traceback_is_logged_once_a_kind_and_not_in_every_look(tmp_path, caplog):
    vendor = Vendor()
    vendor.says[0] = KeyError("results")
    jobs = vendor.jobs(tmp_path)
    handle = jobs.submit(["a"])
    with pytest.raises(TimeoutError):
        jobs.join(handle, timeout=0.2)
    assert [each.exc_info[0] for each in caplog.records if each.exc_info] == [KeyError]
    assert len([each for each in caplog.records if each.levelno >= logging.WARNING]) < 12


LINE = {"method": "POST", "url": "/v1/chat/completions", "body": {"messages": []}}


def test_the_items_reach_submit_as_they_are_with_their_ids(tmp_path):
    """A `submit` of the user's writes its own lines from them, and `poll` answers by the ids."""
    vendor = Vendor()
    lines = [{"custom_id": f"q{n}", **LINE} for n in range(3)]
    handle = vendor.jobs(tmp_path).submit(lines)
    assert vendor.batches == [lines]
    vendor.says[0] = {each["custom_id"]: each["custom_id"] for each in reversed(lines)}
    vendor.jobs(tmp_path).join(handle)
    assert [(each.name, each.answer) for each in vendor.jobs(tmp_path).results(handle)] == [
        ("q0", "q0"), ("q1", "q1"), ("q2", "q2")
    ]  # fmt: skip


def test_names_stay_with_their_items_where_some_have_none(tmp_path):
    vendor = Vendor()
    lines = [{"custom_id": "q0", **LINE}, LINE, {"custom_id": "q2", **LINE}]
    handle = vendor.jobs(tmp_path).submit(lines)
    vendor.jobs(tmp_path).join(handle)
    assert [each.name for each in vendor.jobs(tmp_path).results(handle)] == ["q0", None, "q2"]


def test_a_key_with_other_ids_is_another_job(tmp_path):
    vendor = Vendor()
    jobs = vendor.jobs(tmp_path)
    jobs.submit([{"custom_id": "q0", **LINE}], key="k")
    with pytest.raises(ValueError, match="item 0 and item 1 have the same custom_id"):
        jobs.submit([{"custom_id": "q", **LINE}, {"custom_id": "q", **LINE}])
    with pytest.raises(RuntimeError, match="other items"):
        jobs.submit([{"custom_id": "q1", **LINE}], key="k")


async def forgotten():
    return "job_x"


@pytest.mark.parametrize("ask", ["status", "cancel", "join", "forget", "results"])
def test_a_handle_that_was_not_awaited_is_named(ask, tmp_path):
    jobs = Vendor().jobs(tmp_path)
    for wrong, says in ((forgotten(), "a coroutine.*await it first"), ({"a": 1}, "a dict"), (["job_x"], "a list")):
        with pytest.raises(TypeError, match=says):
            list(getattr(jobs, ask)(wrong))  # results() begins when it is read
    assert not (tmp_path / "jobs.db").exists()


def test_a_body_without_a_model_is_one_item_too(tmp_path):
    jobs = Vendor().jobs(tmp_path)
    with pytest.raises(TypeError, match="one item, a dict with 'messages'"):
        jobs.submit({"messages": [{"role": "user", "content": "hi"}], "temperature": 0})


def test_what_the_rows_hold_can_be_read_by_anybody(tmp_path):
    """The status shows the handle as `submit` returned it."""
    vendor = Vendor()
    vendor.says[0] = None
    handle = vendor.jobs(tmp_path).submit([{"id": "a"}])
    (batch,) = vendor.jobs(tmp_path).status(handle).batches
    assert json.loads(json.dumps(batch.handle)) == 0
