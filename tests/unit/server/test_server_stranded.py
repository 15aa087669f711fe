"""Threads whose last run was refused, and the answer that it brought."""

from types import SimpleNamespace

import pytest
from fakes import T
from hosted import key_ring
from langgraph_sdk.errors import NotFoundError

from batch_bridge._server.threads.stranded import find_late_answer, look_closely

OURS = {"batch_bridge": 1, "requests": [{"id": "r", "batcher": "bridge", "item": "a"}]}
A, B, C = ("a" * 32, "b" * 32, "c" * 32)


def task(*ids, error=None):
    return {"error": error, "interrupts": [{"id": each} for each in ids]}


class Server:
    """A thread as the server tells of it, its tasks, and its runs."""

    def __init__(self, *, status="error", tasks=(), runs=(), questions=(B,), broken=None):
        raised = {"1": [{"id": A, "value": OURS}], "2": [{"id": each, "value": "?"} for each in questions]}
        self._thread = {"thread_id": T, "status": status, "interrupts": raised, "metadata": {}}
        self._thread["updated_at"] = "2020-01-01T00:00:00Z"
        self._tasks, self._runs, self._broken = list(tasks), list(runs), broken
        self.threads, self.runs = self, SimpleNamespace(list=self._list)
        self.looked = 0

    async def search(self, **_):
        return [self._thread]

    async def get_state(self, _):
        self.looked += 1
        if self._broken is not None:
            raise self._broken
        return {"tasks": self._tasks}

    async def _list(self, _, **__):
        return self._runs


def run(resume, *, status="error", at="2", **command):
    return {
        "run_id": f"run {at}",
        "status": status,
        "created_at": at,
        "kwargs": {"command": {"resume": resume, **command}},
    }


async def look(server, doubted=()):
    return (await look_closely(server, [T], key_ring(), doubted))[T]


async def test_a_thread_is_stranded_if_no_node_of_it_has_failed():
    seen = await look(Server(tasks=[task(A), task(B)]))
    assert (seen.failed, seen.stranded, [each.id for each in seen.parked], seen.questions) == (False, True, [A], (B,))


async def test_a_thread_is_not_if_one_has():
    seen = await look(Server(tasks=[task(A), task(B, error="ValueError()")]))
    assert (seen.failed, seen.stranded) == (True, False)


async def test_what_cannot_be_told_now_is_told_later():
    response = SimpleNamespace(status_code=404, headers={}, request=None, text="", reason_phrase="")
    seen = await look(Server(broken=NotFoundError("gone", response=response, body=None)))
    assert (seen.failed, seen.busy) == (False, True)


async def test_what_finished_tasks_show_is_not_asked_for_any_more():
    server = Server(status="interrupted", tasks=[task(), task(B)])
    assert (await look(server)).parked
    assert not server.looked
    assert not (await look(server, {T})).parked


@pytest.mark.parametrize(
    "resume", ["yes", False, 0, {"approved": True}, ["a"], {A[:-1]: "an id that is none"}], ids=str
)
async def test_a_plain_answer_is_for_the_one_question(resume):
    server = Server(tasks=[task(A), task(B)], runs=[run("old", at="1"), run(resume, update={"x": 1})])
    late = await find_late_answer(server, await look(server))
    assert late is not None
    assert late.run == "run 2"
    assert late.command_with({A: "ours"}) == {"resume": {A: "ours", B: resume}, "update": {"x": 1}}


@pytest.mark.parametrize(
    ("questions", "runs"),
    [
        ((B,), []),
        ((B,), [run(None)]),
        ((B,), [run({B: "by id"})]),
        ((B,), [run("yes", at="1"), run("later", status="success")]),
        ((B,), [{"run_id": "x", "status": "error", "created_at": "1", "kwargs": {"command": None}}]),
        ((B,), [{"run_id": "x", "status": "error", "created_at": "1"}]),
        ((B, C), [run("yes")]),
        ((), [run("yes")]),
    ],
)
async def test_what_is_no_answer_or_may_be_for_another_is_left(questions, runs):
    server = Server(tasks=[task(A), task(*questions)], runs=runs, questions=questions)
    assert await find_late_answer(server, await look(server)) is None
