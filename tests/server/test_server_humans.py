"""On a real server a human answers as a user interface does, plainly: each question is put, and each answer used once."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from deployed import Client, Deployed

APPROVE, REJECT = {"decisions": [{"type": "approve"}]}, {"decisions": [{"type": "reject", "message": "no"}]}


@pytest.fixture(scope="module")
def deployed(tmp_path_factory) -> Iterator[Deployed]:
    with Deployed("humans", tmp_path_factory.mktemp("humans"), jobs=20) as running:
        yield running


async def talk(client: Client, graph: str, answers: list[Any], **settings: Any) -> tuple[str, list[Any]]:
    """Run a thread to its end and answer plainly; return it with what the human was asked."""
    thread = (await client.threads.create())["thread_id"]
    await client.run(graph, thread, **settings)
    questions = []
    for answer in answers:
        questions.append((await client.human(thread))["value"])
        await client.run(graph, thread, input=None, command={"resume": answer})
    await client.ended(thread)
    return thread, questions


async def test_each_question_is_put_once_and_each_answer_used_once(deployed) -> None:
    """A question that is not put any more ends the thread too early: then nobody asks for the last answers."""
    abc = ["a", "b", "c"]
    asked = {
        "in_one_task": (abc, ["A?", "B?", "C?"], ["a", "{} x!", "b", "{} y!", "c"]),
        "in_a_subgraph": (abc, ["A?", "B?", "C?"], ["a", "{} x!", "b", "{} y!", "c"]),
        "sync": (abc, ["A?", "B?", "C?"], ["a", "{} x!", "b", "{} y!", "c"]),
        "functional": (abc, ["A?", "B?", "C?"], ["a", "{} x!", "b", "{} y!", "c"]),
        "until_valid": (["yes", "no", "12"], ["a number?"] * 3, ["{} is 12 a number!"]),
    }
    async with deployed.client() as client:
        ended = await asyncio.gather(*(talk(client, graph, answers) for graph, (answers, _, _) in asked.items()))
        out = [await client.out(thread) for thread, _ in ended]
    for (graph, (_, questions, wanted)), (thread, put), got in zip(asked.items(), ended, out, strict=True):
        assert (graph, put) == (graph, questions)
        assert (graph, got) == (graph, [each.format(thread) for each in wanted])


async def test_a_branch_beside_the_one_that_waits_is_asked_for_itself(deployed) -> None:
    async with deployed.client() as client:
        thread, questions = await talk(client, "in_branches", ["a", "b", "c"])
        assert questions == ["A?", "B?", "C?"]
        assert sorted(await client.out(thread)) == sorted(["a", "b", "c", f"{thread} x!", f"{thread} y!"])


async def test_an_approval_of_one_wire_is_none_of_the_next(deployed) -> None:
    async with deployed.client() as client:
        message = {"messages": [{"role": "user", "content": "pay"}]}
        thread, questions = await talk(client, "wires", [APPROVE, REJECT], input=message)
        assert [each["action_requests"][0]["args"]["amount"] for each in questions] == [10, 1_000_000]
        said = [each["content"] for each in (await client.look(thread))["values"]["messages"] if each["type"] == "tool"]
    assert said[0] == "sent 10"
    assert "rejected" in said[1]
