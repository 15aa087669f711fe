"""The user's own `submit` and `poll`, as a provider."""

import asyncio
import json
import threading
from dataclasses import replace
from functools import partial

import pytest
from fakes import request
from langchain_core.messages import AIMessage, HumanMessage

from batch_bridge._core.json import messages as _messages
from batch_bridge._core.json.messages import decode
from batch_bridge._core.models import Ended, Errored, InProgress, Succeeded
from batch_bridge.errors import BadPollResultError, ProviderUnavailable, SubmissionRefused, SubmissionUnknown
from batch_bridge.providers._callables import CallableProvider

ASKED = [request(n) for n in range(3)]
IDS = tuple(each.id for each in ASKED)


def no_submit(items):
    raise AssertionError("never called")


def no_poll(handle):
    raise AssertionError("never called")


async def outcomes(reply, ids=IDS):
    """Poll a pair whose `poll` returns `reply`, and return the outcome of each request in order."""
    ended = await CallableProvider(no_submit, lambda handle: reply).poll("handle", ids)
    assert isinstance(ended, Ended)
    named = {}
    async for request_id, outcome in ended.outcomes:
        assert named.setdefault(request_id, outcome) is outcome, "named twice"
    return [named.get(each, ended.missing) for each in ids]


# -- calling ---------------------------------------------------------------------------------------------------


def sync_submit(items):
    return {"n": len(items), "thread": threading.get_ident()}


async def async_submit(items):
    return sync_submit(items)


class Callable:
    async def __call__(self, items):
        return sync_submit(items)

    async def method(self, items):
        return sync_submit(items)


@pytest.mark.parametrize(
    ("submit", "aside"),
    [
        pytest.param(sync_submit, True, id="sync, in a thread"),
        pytest.param(async_submit, False, id="async"),
        pytest.param(Callable(), False, id="an object with an async call"),
        pytest.param(Callable().method, False, id="a bound method"),
        pytest.param(partial(async_submit), False, id="a partial"),
        pytest.param(lambda items: asyncio.sleep(0, sync_submit(items)), True, id="sync that returns an awaitable"),
    ],
)
async def test_a_function_is_called_sync_or_async(submit, aside):
    handle = await CallableProvider(submit, no_poll).submit("key", ASKED, None)
    assert handle["n"] == 3
    assert (handle["thread"] != threading.get_ident()) is aside


async def test_submit_gets_the_items_in_order_with_messages_as_messages():
    seen = []

    def submit(items):
        seen.extend(items)
        return "handle"

    message = HumanMessage("hi")
    asked = [*ASKED, request(4, messages=_messages.encode([message]))]
    assert await CallableProvider(submit, no_poll).submit("key", asked, None) == "handle"
    assert seen == [{"n": 0}, {"n": 1}, {"n": 2}, {"n": 4, "messages": [message]}]


async def test_poll_gets_the_handle():
    pair = CallableProvider(no_submit, lambda handle: None if handle == {"id": 7} else [])
    assert await pair.poll({"id": 7}, IDS) == InProgress()


@pytest.mark.parametrize("name", ["submit", "poll", "find"])
def test_what_is_not_callable_is_refused_by_name(name):
    with pytest.raises(TypeError, match=f"{name}='nope' is not callable"):
        CallableProvider(**{"submit": no_submit, "poll": no_poll, name: "nope"})


def test_everything_may_share_a_batch_and_is_measured_as_json():
    measure = CallableProvider(no_submit, no_poll).measure(request(1, text="é"))
    assert (measure.group, measure.bytes) == ("", len('{"n":1,"text":"é"}'.encode()))


# -- what submit returns ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("handle", ["id", 7, 0, "", {"id": ["a", 1]}, ["a"]])
async def test_a_handle_is_whatever_json_can_carry(handle):
    assert await CallableProvider(lambda items: handle, no_poll).submit("key", ASKED, None) == handle


@pytest.mark.parametrize("handle", [object(), {1: 2}, b"id", {"when": {1, 2}}])
async def test_a_handle_that_json_cannot_carry_fails_the_batch_and_says_why(handle):
    with pytest.raises(
        SubmissionRefused, match=r"the handle that submit\(\) returned.*may still have been created"
    ) as caught:
        await CallableProvider(lambda items: handle, no_poll).submit("key", ASKED, None)
    assert caught.value.code == "handle_not_json"


async def test_a_submit_without_a_handle_is_told_what_to_return():
    with pytest.raises(SubmissionRefused, match=r"submit\(\) returned None.*return what poll\(\) needs") as caught:
        await CallableProvider(lambda items: None, no_poll).submit("key", ASKED, None)
    assert caught.value.code == "no_handle"


async def test_an_exception_that_submit_returns_is_a_refusal():
    with pytest.raises(SubmissionRefused, match="ValueError: no"):
        await CallableProvider(lambda items: ValueError("no"), no_poll).submit("key", ASKED, None)


@pytest.mark.parametrize("error", [ValueError("no"), ProviderUnavailable("503"), SubmissionUnknown("?")])
async def test_an_exception_that_submit_raises_passes(error):
    def submit(items):
        raise error

    with pytest.raises(type(error)) as caught:
        await CallableProvider(submit, no_poll).submit("key", ASKED, None)
    assert caught.value is error


async def test_a_stop_iteration_does_not_hang_the_bridge():
    with pytest.raises(RuntimeError, match=r"raised StopIteration; does it call next\(\)"):
        await CallableProvider(no_submit, lambda handle: next(iter([]))).poll("handle", IDS)


# -- what poll returns -----------------------------------------------------------------------------------------

MISSING = "missing_result"


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        pytest.param(["a", None, {"c": 1}], ["a", None, {"c": 1}], id="a list in order"),
        pytest.param(("a", "b", "c"), ["a", "b", "c"], id="a tuple"),
        pytest.param({2: "c", 0: "a", 1: "b"}, ["a", "b", "c"], id="a dict by position"),
        pytest.param({"0": "a", "1": "b", "2": "c"}, ["a", "b", "c"], id="a dict by position, as JSON has it"),
        pytest.param({0: "a"}, ["a", MISSING, MISSING], id="positions that are missing"),
        pytest.param(ValueError("no"), ["batch_failed"] * 3, id="an exception fails the batch"),
        pytest.param(["a", ValueError("no"), "c"], ["a", "request_failed", "c"], id="an exception as one element"),
        pytest.param({0: "a", 1: KeyError(), 2: "c"}, ["a", "request_failed", "c"], id="an exception as one value"),
        pytest.param(["a", object(), "c"], ["a", "answer_not_json", "c"], id="an answer that JSON cannot carry"),
        pytest.param(["a", "\ud800", "c"], ["a", "answer_not_json", "c"], id="an answer that is no Unicode"),
        pytest.param(["a", float("nan"), "c"], ["a", "answer_not_json", "c"], id="an answer that is NaN"),
    ],
)
async def test_each_request_gets_its_own_and_nothing_is_guessed(reply, expected):
    got = [each.answer if isinstance(each, Succeeded) else each.code for each in await outcomes(reply)]
    assert got == expected


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        pytest.param(["a", "b"], "2 results for a batch of 3 requests; a list must be as long", id="a list too short"),
        pytest.param(["a", "b", "c", "d"], "4 results for a batch of 3", id="a list too long"),
        pytest.param([], "0 results", id="an empty list"),
        pytest.param("abc", "a str; return None while the batch runs", id="a string is no list"),
        pytest.param(7, "an? int", id="a number"),
        pytest.param({"0", "1", "2"}, "a set", id="a set has no order"),
        pytest.param({}, "an empty dict; return None while the batch runs", id="an empty dict"),
        pytest.param(
            {0: "a", "0": "b"}, "'0' names the item at position 0, which already has a result", id="a position twice"
        ),
        pytest.param({0: "a", 3: "x"}, "3 is neither a position, 0 to 2", id="beyond the end"),
        pytest.param({-1: "x"}, "-1 is neither a position", id="before the start"),
        pytest.param({True: "x"}, "True is neither a position", id="a truth"),
        pytest.param({1.5: "x"}, "1.5 is neither a position", id="a fraction"),
        pytest.param({"x": 1}, 'nor the id of an item.*"custom_id"', id="an id that no item carries"),
        pytest.param({"9" * 5000: 1}, "is neither a position", id="a number without end"),
        pytest.param(
            [object()] * 3, r"cannot be kept: .*builtins.object has no JSON", id="no answer that JSON carries"
        ),
        pytest.param({0: object(), 1: KeyError()}, "cannot be kept", id="no answer of a dict"),
    ],
)
async def test_a_result_of_the_wrong_form_ends_nothing_and_says_what_to_do(reply, message):
    with pytest.raises(BadPollResultError, match=rf"(?s)poll\(\) returned.*{message}.*stays in flight"):
        await outcomes(reply)


@pytest.mark.parametrize("name", ["custom_id", "id"])
async def test_a_dict_may_name_results_by_the_ids_of_the_items(name):
    asked = [request(n, **{name: f"line-{n}"}) for n in range(3)]
    pair = CallableProvider(lambda items: {"job": 7}, lambda handle: {"line-2": handle, "line-0": "a", "line-1": "b"})
    handle = json.loads(json.dumps(await pair.submit("key", asked, None)))  # it is stored
    assert pair.shown(handle) == {"job": 7}
    ended = await CallableProvider(no_submit, pair._poll).poll(handle, IDS)
    assert [(each, got.answer) async for each, got in ended.outcomes] == [
        (IDS[2], {"job": 7}),
        (IDS[0], "a"),
        (IDS[1], "b"),
    ]


async def test_ids_that_look_like_other_positions_are_not_guessed_at():
    asked = [request(n, id=f"{2 - n}") for n in range(3)]
    pair = CallableProvider(lambda items: "job", lambda handle: {"0": "a", "1": "b", "2": "c"})
    with pytest.raises(BadPollResultError, match="'0' is both the id of the item at position 2 and another position"):
        await pair.poll(await pair.submit("key", asked, None), IDS)


@pytest.mark.parametrize(
    "items", [[{"id": "a"}, {"id": "a"}, {"id": "b"}], [{"id": "a"}, {}, {"id": "b"}], ["a", "b", "c"]]
)
async def test_items_without_an_id_each_go_by_position(items):
    asked = [replace(request(n), item=item) for n, item in enumerate(items)]
    pair = CallableProvider(lambda items: "job", lambda handle: {0: "x", 1: "y", 2: "z"})
    ended = await pair.poll(await pair.submit("key", asked, None), IDS)
    assert [got.answer async for _, got in ended.outcomes] == ["x", "y", "z"]


async def test_a_handle_that_find_tells_has_the_ids_too():
    asked = [request(n, id=f"line-{n}") for n in range(3)]
    pair = CallableProvider(
        lambda items, key: None, lambda handle: {f"line-{n}": n for n in (2, 0, 1)}, lambda key: "job"
    )
    (handle,) = await pair.find("key", await pair.prepare("key", asked))
    assert pair.shown(handle) == "job"
    ended = await pair.poll(handle, IDS)
    assert [(each, got.answer) async for each, got in ended.outcomes] == [(IDS[2], 2), (IDS[0], 0), (IDS[1], 1)]


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (ValueError("no"), "ValueError: no"),
        (ValueError(), "^ValueError$"),
        (
            ["a", object(), object()],
            r"^the answer that poll\(\) returned cannot be sent: a builtins.object has no JSON",
        ),
    ],
)
async def test_a_failure_says_what_was_wrong_and_what_to_do(reply, message):
    for outcome in await outcomes(reply):
        if outcome == Succeeded("a"):
            continue
        assert isinstance(outcome, Errored)
        with pytest.raises(ValueError, match=message):
            raise ValueError(outcome.message)


async def test_an_answer_may_hold_messages():
    outcome, *_ = await outcomes([AIMessage("yes"), 1, 2])
    assert decode(outcome.answer) == AIMessage("yes")


async def test_an_answer_is_owned_by_its_request():
    answer = {"a": [1]}
    outcome, *_ = await outcomes([answer] * 3)
    answer["a"].append(2)
    assert outcome == Succeeded({"a": [1]})


async def test_an_exception_that_poll_raises_passes():
    def poll(handle):
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await CallableProvider(no_submit, poll).poll("handle", IDS)


# -- looking for a batch ---------------------------------------------------------------------------------------


async def test_without_find_a_batch_cannot_be_looked_for():
    with pytest.raises(SubmissionUnknown, match="this batch may or may not have been created"):
        await CallableProvider(no_submit, no_poll).find("key", None)


@pytest.mark.parametrize(("handle", "found"), [(None, []), ("h", ["h"]), ({"id": 1}, [{"id": 1}])])
async def test_with_find_and_the_key_it_can(handle, found):
    keys = []

    def submit(items, key):
        keys.append(key)
        return "h"

    def find(key):
        keys.append(key)
        return handle

    pair = CallableProvider(submit, no_poll, find)
    await pair.submit("bb-1", ASKED, None)
    assert await pair.find("bb-1", None) == found
    assert keys == ["bb-1", "bb-1"]


def test_find_without_a_submit_that_takes_the_key_is_refused():
    with pytest.raises(TypeError, match=r"find= needs a submit that takes the batch's key: def submit\(items, key\)"):
        CallableProvider(no_submit, no_poll, lambda key: None)


async def test_what_find_returns_must_be_json_too():
    with pytest.raises(SubmissionRefused, match=r"the handle that find\(\) returned"):
        await CallableProvider(lambda items, key: None, no_poll, lambda key: object()).find("bb-1", None)


async def test_the_other_verbs_do_nothing():
    pair = CallableProvider(no_submit, no_poll)
    assert await pair.prepare("key", ASKED) is None
    for nothing in (pair.fence(None), pair.cancel("h"), pair.release("h"), pair.aclose()):
        assert await nothing is None
