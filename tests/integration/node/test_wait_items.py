"""What is asked and answered: items, their keys, many of them at once, and waits of nodes that are not async."""

import asyncio

from helpers import Desk, one_node, run
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langgraph.graph import MessagesState

from batch_bridge import RequestFailed, wait, wait_many, wait_many_sync, wait_sync


async def ask(state):
    return {"out": [await wait(state["x"])]}


def refuse_bad(item):
    return ValueError("no good") if item == "bad" else f"{item}!"


# -- sync nodes, wait_many ------------------------------------------------------------------------------------------


async def test_wait_sync_parks_a_sync_node():
    def node(state):
        first = wait_sync(state["x"])
        return {"out": [first, wait_sync(first)]}

    desk = Desk()
    results = await run(one_node(node), desk.bridge(), inputs=[{"x": "a"}, {"x": "b"}])
    assert [result["out"] for result in results] == [["a!", "a!!"], ["b!", "b!!"]]
    assert desk.sizes == [2, 2]


async def test_wait_many_sync_costs_one_round_and_keeps_the_order():
    def node(state):
        return {"out": wait_many_sync(["c", "bad", "a"], return_exceptions=True)}

    desk = Desk(refuse_bad)
    [result] = await run(one_node(node), desk.bridge())
    assert [result["out"][0], type(result["out"][1]), result["out"][2]] == ["c!", RequestFailed, "a!"]
    assert desk.batches == [["c", "bad", "a"]]


async def test_wait_many_raises_the_first_failure_in_order_unless_told_to_return_them():
    async def node(state):
        return {"out": await wait_many(["a", "bad", "c", "bad"], return_exceptions=state["x"])}

    desk = Desk(refuse_bad)
    inputs = [{"x": True}, {"x": False}]
    result, error = await run(one_node(node), desk.bridge(), inputs=inputs, return_exceptions=True)
    assert [str(each) for each in result["out"]] == ["a!", "ValueError: no good", "c!", "ValueError: no good"]
    assert isinstance(error, RequestFailed)
    assert desk.sizes == [8]


async def test_wait_many_of_nothing_is_nothing():
    async def node(state):
        return {"out": await wait_many([])}

    desk = Desk()
    [result] = await run(one_node(node), desk.bridge())
    assert result["out"] == []
    assert desk.batches == []


# -- items ----------------------------------------------------------------------------------------------------------


async def test_a_key_names_the_request_where_the_node_is_not_deterministic():
    serial = iter(range(100))

    async def node(state):
        first, second = await asyncio.gather(
            wait({"nonce": next(serial)}, key="first"), wait({"nonce": next(serial)}, key="second")
        )
        third = await wait({"nonce": next(serial)}, key="third")
        return {"out": [first, second, third]}

    desk = Desk(lambda item: item["nonce"])
    [result] = await run(one_node(node), desk.bridge())
    assert result["out"][:2] == [0, 1]
    assert desk.sizes == [2, 1]


async def test_the_same_key_twice_is_two_requests():
    async def node(state):
        return {"out": [await wait("a", key="k"), await wait("b", key="k")]}

    desk = Desk()
    [result] = await run(one_node(node), desk.bridge())
    assert result["out"] == ["a!", "b!"]
    assert desk.batches == [["a"], ["b"]]


async def test_messages_travel_as_messages_and_their_ids_do_not_count():
    async def node(state):
        fresh = [SystemMessage("be brief", id=None), HumanMessage(state["messages"][-1].content)]
        fresh[0].id = f"another every time {next(serial)}"
        answer = await wait(fresh)
        return {"messages": [answer]}

    serial = iter(range(100))
    seen = []

    def answer(item):
        seen.append(item)
        return AIMessage(f"{item[-1].content}!", id="given")

    desk = Desk(answer)
    [result] = await run(one_node(node, MessagesState), desk.bridge(), inputs=[{"messages": [HumanMessage("hi")]}])
    assert [type(each) for each in seen[0]] == [SystemMessage, HumanMessage]
    assert isinstance(result["messages"][-1], AIMessage)
    assert (result["messages"][-1].content, result["messages"][-1].id) == ("hi!", "given")
    assert desk.sizes == [1]


async def test_answers_are_given_as_they_came():
    answers = [None, 0, "", [], {}, False, {"deep": [1.5, {"er": None}]}, "é\u0000", [[], [{}]]]

    async def node(state):
        return {"out": await wait_many(list(range(len(answers))))}

    [result] = await run(one_node(node), Desk(lambda item: answers[item]).bridge())
    assert result["out"] == answers


async def test_an_item_is_what_it_was_when_the_wait_began():
    async def node(state):
        item = {"words": ["a"]}
        waiting = asyncio.ensure_future(wait(item))
        await asyncio.sleep(0)
        item["words"].append("b")
        first = await waiting
        return {"out": [first, await wait(item)]}

    desk = Desk(lambda item: len(item["words"]))
    [result] = await run(one_node(node), desk.bridge())
    assert result["out"] == [1, 2]
    assert desk.batches == [[{"words": ["a"]}], [{"words": ["a", "b"]}]]
