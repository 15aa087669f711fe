"""Keys: whatever may change an answer changes the key, and no secret is in it."""

import orjson
import pytest
from fakes import FakeProvider
from hypothesis import assume, example, given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage
from openai import AsyncAzureOpenAI, AsyncOpenAI

from batch_bridge import Request
from batch_bridge._core.json.messages import encode
from batch_bridge._engine.deduplication import Deduplication, is_answer
from batch_bridge.providers.openai import OpenAIBatch

LEAVES = st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    LEAVES | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
ROLES = st.sampled_from(["system", "user", "assistant"])
CONTENT = st.text(max_size=8) | st.lists(
    st.fixed_dictionaries({"type": st.just("image_url"), "image_url": st.fixed_dictionaries({"url": st.text()})})
    | st.fixed_dictionaries({"type": st.just("text"), "text": st.text(max_size=5)}),
    min_size=1,
    max_size=2,
)
SCHEMA = st.dictionaries(st.sampled_from("abc"), st.sampled_from([{"type": "string"}, {"type": "number"}]), min_size=1)
TOOLS = st.lists(
    st.fixed_dictionaries(
        {
            "type": st.just("function"),
            "function": st.fixed_dictionaries({"name": st.text("xyz", min_size=1), "parameters": SCHEMA}),
        }
    ),
    min_size=1,
    max_size=2,
)
BODIES = st.fixed_dictionaries(
    {
        "model": st.sampled_from(["gpt-4o-mini", "gpt-4.1"]),
        "messages": st.lists(st.fixed_dictionaries({"role": ROLES, "content": CONTENT}), min_size=1, max_size=3),
    },
    optional={
        "temperature": st.sampled_from([0, 0.5, 1]),
        "tools": TOOLS,
        "response_format": st.fixed_dictionaries({"type": st.just("json_schema"), "json_schema": SCHEMA}),
        "seed": st.integers(0, 3),
        "n": st.integers(1, 2),
        "max_tokens": st.integers(1, 9),
    },
)


def ask(item, **more):
    return Request("0" * 32, "thread", item, **more)


def places(value, path=()):
    """Yield the path to each part of a value."""
    yield path
    for step, each in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(each, (*path, step))


def put(value, path, new):
    if not path:
        return new
    step, *rest = path
    copy = list(value) if isinstance(value, list) else dict(value)
    copy[step] = put(value[step], rest, new)
    return copy


def at(value, path):
    for step in path:
        value = value[step]
    return value


def key_of(item, client=None, **settings):
    client = client or AsyncOpenAI(api_key="k", base_url="http://localhost/v1")
    deduplication = Deduplication("bridge", OpenAIBatch(client, **settings), None, dedupe=True)
    key = deduplication.key(item if isinstance(item, Request) else ask(item))
    assert len(key) == 40, "the item is no request"
    return key


OURS = Deduplication("bridge", OpenAIBatch(AsyncOpenAI(api_key="k", base_url="http://localhost/v1")), None, dedupe=True)
PAIR = Deduplication("bridge", FakeProvider(), None, dedupe=True)


@given(BODIES, st.data())
def test_any_one_change_of_a_body_changes_the_key(body, data):
    path = data.draw(st.sampled_from([each for each in places(body) if each and each[0] != "model"]))
    new = data.draw(VALUES)
    assume(orjson.dumps(new) != orjson.dumps(at(body, path)))
    changed = put(body, path, new)
    assert OURS.key(ask(changed)) != OURS.key(ask(body))


@given(BODIES, st.data())
def test_a_field_more_or_less_changes_the_key(body, data):
    key = OURS.key(ask(body))
    assert OURS.key(ask({**body, "logit_bias": None})) != key
    for name in body.keys() - {"model", "messages"}:
        assert OURS.key(ask({each: body[each] for each in body if each != name})) != key


@given(BODIES, st.randoms())
def test_the_order_of_the_apis_own_fields_means_nothing(body, random):
    def shuffled(fields):
        names = list(fields)
        random.shuffle(names)
        return {name: fields[name] for name in names}

    same = shuffled({**body, "messages": [shuffled(each) for each in body["messages"]]})
    assert OURS.key(ask(same)) == OURS.key(ask(body))


def test_the_order_of_a_schemas_properties_is_kept_since_the_model_answers_in_it():
    def body(*names):
        schema = {"properties": {name: {"type": "string"} for name in names}}
        return {"model": "m", "input": "x", "text": {"format": {"type": "json_schema", "schema": schema}}}

    assert key_of(body("reason", "answer")) != key_of(body("answer", "reason"))


def test_numbers_are_compared_as_they_are_written():
    def body(temperature):
        return {"model": "m", "input": "x", "temperature": temperature}

    assert key_of(body(1e0)) == key_of(body(1.0))
    assert len({key_of(body(each)) for each in (1, 1.0, True, "1")}) == 4  # a miss where in doubt


def test_where_a_request_is_sent_is_part_of_its_key():
    item = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    azure = {"api_key": "k", "azure_endpoint": "https://h", "api_version": "1"}
    clients = [
        AsyncOpenAI(api_key="k", base_url="http://localhost/v1"),
        AsyncOpenAI(api_key="k", base_url="http://localhost/v2"),
        AsyncOpenAI(api_key="k", base_url="https://localhost/v1"),
        AsyncOpenAI(api_key="k", base_url="http://localhost:8080/v1"),
        AsyncOpenAI(api_key="k", base_url="http://elsewhere/v1"),
        AsyncOpenAI(api_key="k", base_url="http://localhost/v1", organization="org-1"),
        AsyncOpenAI(api_key="k", base_url="http://localhost/v1", project="org-1"),
        AsyncOpenAI(api_key="k", base_url="http://localhost/v1", default_headers={"x-route": "eu"}),
        AsyncOpenAI(api_key="k", base_url="http://localhost/v1", default_query={"route": "eu"}),
        AsyncAzureOpenAI(**azure),
        AsyncAzureOpenAI(**{**azure, "api_version": "2"}),
        AsyncAzureOpenAI(**azure, azure_deployment="d"),
    ]
    keys = [key_of(item, client) for client in clients]
    assert len(set(keys)) == len(clients)


def test_secrets_are_no_part_of_a_key():
    item = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    plain = AsyncOpenAI(api_key="k", base_url="http://localhost/v1")
    secret = AsyncOpenAI(
        api_key="hunter2",
        base_url="http://me:hunter2@localhost/v1",
        default_headers={"Authorization": "Bearer hunter2", "api-key": "hunter2", "Cookie": "hunter2"},
    )
    assert b"hunter2" not in OpenAIBatch(secret).identity(ask(item))
    assert key_of(item, plain) == key_of(item, secret)


def test_defaults_are_part_of_the_body_and_the_form_of_the_item_is_not():
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], "temperature": 0}
    line = {"method": "POST", "url": "/v1/chat/completions", "body": body}
    same = [key_of(body), key_of(line), key_of(body["messages"], model="m", defaults={"temperature": 0})]
    assert len(set(same)) == 1
    assert key_of(body["messages"], model="m") != same[0]
    responses = {"url": "/v1/responses", "body": {"model": "m", "input": "x"}}
    embeddings = {"url": "/v1/embeddings", "body": {"model": "m", "input": "x"}}
    assert key_of(responses) != key_of(embeddings)


def test_langchain_messages_are_answered_in_another_form_and_their_ids_mean_nothing():
    plain = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    messages = [ask(encode([HumanMessage("x", id=each)])) for each in ("a", "b")]
    first, second = (key_of(each, model="m") for each in messages)
    assert first == second != key_of(plain)
    assert PAIR.key(messages[0]) == PAIR.key(messages[1])


@given(VALUES, VALUES)
def test_items_of_a_pair_are_equal_when_they_are_written_alike(one, other):
    assert (PAIR.key(ask(one)) == PAIR.key(ask(other))) == (orjson.dumps(one) == orjson.dumps(other))


@given(st.lists(st.tuples(st.text(max_size=4), st.text(max_size=4)), unique=True, min_size=2, max_size=2))
@example([("a", ""), ("", "a")])
@example([("ab", "c"), ("a", "bc")])
def test_tenant_and_sample_are_part_of_the_key(both):
    item = {"model": "m", "input": "x"}
    for deduplication in (OURS, PAIR):
        one, other = (deduplication.key(ask(item, tenant=tenant, sample=sample)) for tenant, sample in both)
        assert one != other


def test_pairs_are_told_apart_by_their_bridge_and_providers_by_their_class():
    class Another(FakeProvider):
        pass

    def says(request):
        return orjson.dumps(request.item)

    sharings = [
        PAIR,
        Deduplication("another", FakeProvider(), None, dedupe=True),
        Deduplication("bridge", Another(), None, dedupe=True),
        Deduplication("bridge", type("Known", (FakeProvider,), {"identity": staticmethod(says)})(), None, dedupe=True),
        OURS,
    ]
    item = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    assert len({each.key(ask(item)) for each in sharings}) == len(sharings)


async def test_the_twin_that_answers_at_once_shares_its_keys():
    provider = OpenAIBatch(AsyncOpenAI(api_key="k", base_url="http://localhost/v1"))
    item = ask({"model": "m", "input": "x"})
    keys = {
        Deduplication(name, each, None, dedupe=True).key(item)
        for name, each in [("a", provider), ("b", provider.realtime())]
    }
    assert len(keys) == 1


def test_an_identity_that_cannot_be_told_is_never_equal_to_another():
    class Broken(FakeProvider):
        def identity(self, request):
            raise KeyError("a bug")

    assert Deduplication("bridge", Broken(), None, dedupe=True).key(ask({})) == ""


@pytest.mark.parametrize(
    ("answer", "kept"),
    [
        ({"choices": [{"finish_reason": "length"}]}, True),
        ({"status": "incomplete", "error": None}, True),
        ({"status": "completed"}, True),
        ({"status": "failed", "error": {"code": "server_error"}}, False),
        ({"error": {"message": "no"}}, False),
        ({"status": "cancelled"}, False),
        ("a text", True),
        (None, True),
        (encode(AIMessage("x", response_metadata={"status": "incomplete"})), True),
        (encode(AIMessage("x", response_metadata={"status": "failed"})), False),
        (encode(AIMessage("x")), True),
    ],
)
def test_an_error_that_came_as_an_answer_is_none(answer, kept):
    assert is_answer(answer) is kept
