"""An item becomes bytes once: those bytes are its snapshot and its check, and stand in the batch's input as they are."""

import dataclasses
import enum
import functools
import io
import json
import math
import uuid
from datetime import UTC, datetime

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import HumanMessage

from batch_bridge import Request
from batch_bridge._core.json import messages
from batch_bridge._core.json.json_values import to_json
from batch_bridge._core.json.text import is_long
from batch_bridge._core.models import LineFrame, Serialized
from batch_bridge._core.provider import conversations_of
from batch_bridge.errors import JSONError
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.providers.openai._lines import LinesReader


@dataclasses.dataclass
class Point:
    x: int = 1


class Colour(enum.Enum):
    RED = "red"


class Text(str):
    __slots__ = ()


ODD = [
    uuid.UUID(int=1),
    Colour.RED,
    Point(),
    datetime(2026, 1, 1, tzinfo=UTC),
    math.nan,
    math.inf,
    2**64,
    -(2**63) - 1,
    "\ud800",
    {1: 2},
    b"bytes",
    object(),
]


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: repr(odd).split(" at 0x")[0])
@pytest.mark.parametrize("around", [lambda odd: odd, lambda odd: [{"role": "user", "content": odd}]])
def test_what_json_cannot_carry_is_refused_by_its_path(odd, around):
    with pytest.raises(JSONError) as expected:
        to_json(around(odd))
    with pytest.raises(JSONError) as error:
        messages.encode_bytes(around(odd))
    assert str(error.value).split(" at 0x")[0] == str(expected.value).split(" at 0x")[0]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text() | st.text().map(Text),
    lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(st.text() | st.text().map(Text), inner),
    max_leaves=20,
)  # fmt: skip


@given(VALUES)
def test_the_bytes_are_those_of_what_the_slow_way_returns(value):
    data, _ = messages.encode_bytes(value)
    assert orjson.loads(data) == to_json(value)


@pytest.mark.parametrize("levels", [1, 200, 201, 202, 254, 300])
def test_depth_is_judged_as_the_slow_way_does(levels):
    value: object = "leaf"
    for _ in range(levels):
        value = [value]
    try:
        to_json(value)
    except JSONError:
        with pytest.raises(JSONError):
            messages.encode_bytes(value)
    else:
        assert json.loads(messages.encode_bytes(value)[0]) == value


def test_a_serialized_request_is_the_request():
    item = [{"role": "user", "content": "q"}]
    plain, kept = Request("a" * 32, "t", item), Serialized("a" * 32, "t", orjson.dumps(item))
    assert kept == plain
    kept.item.append("changed")
    assert kept.item == item, "who reads it changes nothing"


@given(st.lists(st.binary(min_size=1, max_size=40), min_size=1), st.integers(1, 200))
def test_a_reader_reads_all_lines_in_pieces_again_and_again(items, piece):
    frame = LineFrame(None, b"<", b"|", b">\n")
    requests = [Serialized(str(n), "", each) for n, each in enumerate(items)]
    whole = b"".join(b"<%d|%b>\n" % (n, each) for n, each in enumerate(items))
    reader = LinesReader(requests, frame, piece=piece)
    assert reader.seek(0, io.SEEK_END) == len(whole)
    for _ in range(2):
        reader.seek(0)
        assert b"".join(iter(lambda: reader.read(1), b"")) == whole
        assert reader.tell() == len(whole)
    reader.seek(0)
    assert reader.read() == whole


@pytest.mark.parametrize("options", [{}, {"defaults": {"temperature": 0}}, {"endpoint": "/v1/responses"}])
def test_the_finished_line_is_the_line_that_is_made_of_the_item(options):
    provider = OpenAIBatch(model="gpt-4o-mini", **options)
    item = [{"role": "user", "content": 'say "hé" \\ \u2028'}]
    data, is_conversation = messages.encode_bytes(item)
    kept = Serialized("a" * 32, "", data, is_conversation=is_conversation)
    plain = Request("a" * 32, "", item)
    measured, slow = provider.measure(kept), provider.measure(plain)
    assert (measured.group, measured.bytes) == (slow.group, slow.bytes)
    assert measured.line is not None
    assert measured.line.write([kept]) == provider._read(plain).line(plain.id)


def test_a_line_belongs_to_the_provider_that_made_it():
    one, other = OpenAIBatch(model="one"), OpenAIBatch(model="other")
    data, is_conversation = messages.encode_bytes([{"role": "user", "content": "q"}])
    kept = Serialized("a" * 32, "", data, is_conversation=is_conversation)
    kept.line = one.measure(kept).line
    assert b'"one"' in one._lines.write(kept)
    assert b'"other"' in other._lines.write(kept)
    assert other._lines.reader([kept]) is None


def test_every_conversation_of_a_provider_has_the_line_that_one_has():
    provider = OpenAIBatch(model="gpt-4o-mini")
    data, is_conversation = messages.encode_bytes([{"role": "user", "content": "q"}])
    kept = Serialized("a" * 32, "", data, is_conversation=is_conversation)
    line, group = conversations_of(provider)
    measured = provider.measure(kept)
    assert (measured.group, measured.bytes, measured.line) == (group, line.size(kept), line)


def test_nobody_goes_past_a_measure_that_takes_the_place_of_the_providers():
    class ByTenant(OpenAIBatch):
        def measure(self, request):
            return super().measure(request)._replace(group=request.tenant)

    class Around:
        def __init__(self, inner):
            self._inner = inner

        def __getattr__(self, name):
            return getattr(self._inner, name)

        def measure(self, request):
            return self._inner.measure(request)

    assert conversations_of(OpenAIBatch(model="m")) is not None
    assert conversations_of(ByTenant(model="m")) is None
    assert conversations_of(Around(OpenAIBatch(model="m"))) is None


def test_a_measure_that_wraps_as_functools_does_is_asked():
    class Checked(OpenAIBatch):
        @functools.wraps(OpenAIBatch.measure)
        def measure(self, request):
            return super().measure(request)

    assert conversations_of(Checked(model="m")) is None


def test_a_copy_with_another_field_is_the_request_with_that_field():
    kept = Serialized("a" * 32, "t", b'[{"role":"user"}]', "tenant", is_conversation=True)
    other = dataclasses.replace(kept, item={"n": 1})
    assert (other.id, other.thread, other.tenant, other.item, other.line) == (kept.id, "t", "tenant", {"n": 1}, None)
    assert not other.is_conversation
    assert dataclasses.replace(kept, tenant="other").item == kept.item
    assert dataclasses.replace(kept, tenant="other") == Request("a" * 32, "t", kept.item, "other")


def test_digits_of_an_id_or_a_fraction_are_no_long_number():
    assert not is_long(b'{"id":"chatcmpl-f1234567890123456789012345","x":0.12345678901234567890123}')
    assert not is_long(b'{"id":"12345678901234567890","n":123456789012345678}')
    for number in (b"[12345678901234567890]", b'{"n": -12345678901234567890}', b"12345678901234567890"):
        assert is_long(number)
    assert is_long(b'{"id":"f12345678901234567890","n":12345678901234567890}')


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ([{"role": "user", "content": "what is __message__?"}], True),
        ([{"role": "user", "content": [{"type": "text", "text": "q"}]}], True),
        ([{"__message__": "x"}], False),
        ([{"role": "user", "content": [{"__message__": {}}]}], False),
        ([HumanMessage("q")], False),
        ([], False),
        ([{}, "text"], False),
    ],
)
def test_only_a_list_of_dicts_without_a_message_is_a_conversation(item, expected):
    assert messages.encode_bytes(item)[1] is expected


@pytest.mark.parametrize(
    "item",
    [
        {
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": 'say "body": {} }'}], "seed": 1},
            "client": {"base_url": "https://api.openai.com/v1"},
        },
        {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "q"}]},
        {"messages": [{"role": "user", "content": "q"}]},
        {"input": "q", "model": "gpt-4o-mini", "metadata": {"custom_id": "a" * 32}},
    ],
)
@pytest.mark.parametrize("defaults", [{}, {"temperature": 0}])
def test_a_body_that_stands_in_its_item_is_not_written_twice(item, defaults):
    provider = OpenAIBatch(model="gpt-4o-mini", defaults=defaults)
    kept, plain = Serialized("a" * 32, "", orjson.dumps(item)), Request("a" * 32, "", item)
    line = provider._read(plain).line(plain.id)
    frames = [provider.measure(each).line for each in (kept, kept)]
    assert provider.measure(kept)[:2] == provider.measure(plain)[:2]
    assert frames[0] is frames[1]
    if "client" in item and not defaults:
        assert frames[0] is not None
    if frames[0] is not None:
        assert frames[0].write([kept]) == line
        assert frames[0].size(kept) == len(line)
