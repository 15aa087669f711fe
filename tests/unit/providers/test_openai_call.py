from datetime import UTC, datetime

import orjson
import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

from batch_bridge import Request
from batch_bridge._core.json.messages import encode
from batch_bridge._core.policy.batching import Waiting, split
from batch_bridge.errors import RequestRefused
from batch_bridge.providers._shared.item import read_mark
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.providers.openai._provider import LIMITS

ID = "0123456789abcdef" * 2
HELLO = [{"role": "user", "content": "Hello"}]


def request(item):
    return Request(ID, "thread", encode(item))


def line_of(item, **options):
    options.setdefault("model", "gpt-4o-mini")
    call = OpenAIBatch(**options)._read(request(item))
    return orjson.loads(call.line(ID))


def test_a_list_of_messages_is_a_chat_completion():
    assert line_of(HELLO) == {
        "custom_id": ID,
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": "gpt-4o-mini", "messages": HELLO},
    }


def test_a_body_wins_over_the_defaults():
    line = line_of({"messages": HELLO, "model": "o3", "temperature": 1}, defaults={"temperature": 0, "seed": 7})
    assert line["body"] == {"messages": HELLO, "model": "o3", "temperature": 1, "seed": 7}


@pytest.mark.parametrize(
    ("body", "endpoint", "url"),
    [
        ({"messages": HELLO}, None, "/v1/chat/completions"),
        ({"messages": HELLO}, "/v1/responses", "/v1/chat/completions"),
        ({"input": "x"}, None, "/v1/responses"),
        ({"input": "x"}, "/v1/chat/completions", "/v1/responses"),
        ({"input": "x"}, "/v1/embeddings", "/v1/embeddings"),
        ({"input": "x", "model": "text-embedding-3-small"}, None, "/v1/embeddings"),
        ({"input": "x", "model": "omni-moderation-latest"}, None, "/v1/moderations"),
        ({"prompt": {"id": "pmpt_1"}}, None, "/v1/responses"),
        ({"prompt": "x", "model": "gpt-3.5-turbo-instruct"}, None, "/v1/completions"),
        ({"prompt": "x", "model": "gpt-image-1"}, None, "/v1/images/generations"),
        ({"prompt": "x", "model": "gpt-image-1", "image": "file"}, None, "/v1/images/edits"),
        ({"prompt": "x", "model": "sora-2"}, None, "/v1/videos"),
        ({"prompt": "x"}, "/v1/images/generations", "/v1/images/generations"),
        ({"conversation": "conv_1"}, "/v1/responses", "/v1/responses"),
    ],
)
def test_the_endpoint_is_inferred(body, endpoint, url):
    assert line_of(body, endpoint=endpoint)["url"] == url


def test_a_list_of_messages_goes_to_the_providers_endpoint():
    line = line_of(HELLO, endpoint="/v1/responses")
    assert (line["url"], line["body"]["input"]) == ("/v1/responses", HELLO)


def test_a_whole_line_keeps_its_url_and_loses_its_custom_id():
    whole = {"custom_id": "mine", "method": "POST", "url": "/v1/moderations", "body": {"input": "x"}}
    line = line_of(whole)
    assert (line["custom_id"], line["url"]) == (ID, "/v1/moderations")
    assert line["body"] == {"model": "gpt-4o-mini", "input": "x"}


def test_langchain_messages_are_converted_and_marked():
    conversation = [
        SystemMessage("Be brief."),
        HumanMessage(
            [
                {"type": "text", "text": "What?"},
                {"type": "image_url", "image_url": {"url": "https://x/y.png"}},
            ]
        ),
        AIMessage("", tool_calls=[{"name": "look", "args": {"at": "é"}, "id": "c1"}], id="run-1"),
        ToolMessage("a cat", tool_call_id="c1"),
    ]
    line = line_of(conversation)
    assert read_mark(line["custom_id"]) == (ID, True)
    assert len(line["custom_id"]) <= 64
    assert line["body"]["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": conversation[1].content},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"type": "function", "id": "c1", "function": {"name": "look", "arguments": '{"at": "é"}'}}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "a cat"},
    ]


@pytest.mark.parametrize(
    "item",
    [HumanMessage("Hello"), [HumanMessage("Hello")], {"messages": [HumanMessage("Hello")]}],
    ids=["one message", "a list", "in a body"],
)
def test_langchain_messages_may_stand_anywhere(item):
    line = line_of(item)
    assert line["body"]["messages"] == HELLO
    assert read_mark(line["custom_id"]) == (ID, True)


def test_messages_as_dicts_may_stand_beside_langchains():
    assert line_of([{"role": "system", "content": "x"}, HumanMessage("Hello")])["body"]["messages"] == [
        {"role": "system", "content": "x"},
        *HELLO,
    ]


@pytest.mark.parametrize(
    ("item", "says"),
    [
        ("Hello", "it is a string; write [{"),
        (None, "it is nothing"),
        (7, "it is a int"),
        ([], "empty list"),
        (["Hello"], "message 0 of it is a str"),
        ([["user", "Hello"]], "message 0 of it is a list"),
        ({"foo": 1}, "names its endpoint"),
        ({"messages": HELLO, "stream": True}, "cannot stream"),
        ({"url": "/v1/chat/completions", "body": "x"}, "the body of its line is a str"),
        ({"url": "/v1/audio/speech", "body": {"input": "x"}}, "cannot be sent to '/v1/audio/speech'"),
        ({"url": "/v1/responses", "method": "GET", "body": {"input": "x"}}, "its method is 'GET'"),
        ([{"__message__": {"type": "alien", "data": {"content": "x"}}}], "cannot be converted"),
        ([{"__message__": "no message"}], "cannot be converted"),
        ([HumanMessage([{"type": "image_url"}])], "cannot be converted"),
    ],
)
def test_what_cannot_be_sent_is_refused(item, says):
    with pytest.raises(RequestRefused) as caught:
        OpenAIBatch(model="gpt-4o-mini").measure(request(item))
    assert says in str(caught.value)
    assert caught.value.code == "invalid_item"
    assert "; " in str(caught.value), "the message ends with what to do"


def test_no_model_anywhere_is_refused():
    with pytest.raises(RequestRefused, match=r"names no model; put .*OpenAIBatch\(model=…\)"):
        OpenAIBatch().measure(request(HELLO))


def test_a_list_for_an_endpoint_without_conversations_is_refused():
    with pytest.raises(RequestRefused, match="/v1/embeddings does not accept a conversation"):
        OpenAIBatch(model="m", endpoint="/v1/embeddings").measure(request(HELLO))


def test_a_lone_surrogate_is_refused_with_its_place():
    with pytest.raises(RequestRefused, match=r"\['messages'\]\[0\]\['content'\]"):
        OpenAIBatch(model="m").measure(Request(ID, "t", [{"role": "user", "content": "\ud800"}]))


def test_the_measure_is_the_length_of_the_line():
    provider = OpenAIBatch(model="gpt-4o-mini")
    for item in (HELLO, [HumanMessage("Grüße\n")], {"input": "x"}):
        asked = request(item)
        measure = provider.measure(asked)
        line = provider._read(asked).line(ID)
        assert measure.bytes == len(line)
        assert line.count(b"\n") == 1
        assert line.endswith(b"\n")


def test_a_batch_mixes_neither_models_nor_endpoints():
    provider = OpenAIBatch(model="a")
    items = (HELLO, {"messages": HELLO, "model": "b"}, {"input": "x"})
    groups = {provider.measure(request(item)).group for item in items}
    assert groups == {"/v1/chat/completions a", "/v1/chat/completions b", "/v1/responses a"}


@pytest.mark.parametrize(
    ("texts", "count"), [("x", 1), (["x"], 1), (["x"] * 2_048, 2_048), ([1, 2], 1), ([[1], [2]], 2)]
)
def test_embeddings_weigh_their_share_of_inputs(texts, count):
    provider = OpenAIBatch(model="text-embedding-3-small")
    measure = provider.measure(request({"input": texts}))
    assert measure.bytes == max(count * 4_000, measure.bytes)
    assert LIMITS.bytes is not None
    assert LIMITS.bytes // measure.bytes * count <= 50_000


def test_embedding_inputs_split_batches():
    provider = OpenAIBatch(model="text-embedding-3-small")
    measure = provider.measure(request({"input": ["x"] * 2_000}))
    waiting = [Waiting(str(i), measure.group, measure.bytes, datetime.now(UTC)) for i in range(60)]
    assert [len(batch) for batch in split(waiting, provider.limits)] == [25, 25, 10]


def test_an_item_is_not_changed():
    asked = request({"messages": [HumanMessage("Hello")]})
    before = orjson.dumps(asked.item)
    OpenAIBatch(model="m", defaults={"seed": 1}).measure(asked)
    assert orjson.dumps(asked.item) == before
