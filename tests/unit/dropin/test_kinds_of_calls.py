"""Calls of one kind are measured once; whatever a provider reads of a call makes another kind."""

import pytest
from openai import NOT_GIVEN

from batch_bridge._core.models import Serialized
from batch_bridge._dropin.openai.request import CHAT, Origin, fast_body
from batch_bridge.errors import RequestRefused
from batch_bridge.providers._shared.allow import Allow
from batch_bridge.providers.openai import OpenAIBatch

FIELDS = frozenset({"messages", "model", "temperature", "seed"})
ORIGIN = Origin({"base_url": "https://api.openai.com/v1"})
HELLO = [{"role": "user", "content": "hi"}]


def request_of(number, **arguments):
    body = fast_body({"model": "m", "messages": HELLO, **arguments}, FIELDS, frozenset({"messages", "model"}))
    written = ORIGIN.written(CHAT, body)
    request = Serialized(f"{number:032x}", "", written.data)
    request.kind = written.kind
    return request


def read(request):
    """Return the same request as one of no kind, whose item is read."""
    return Serialized(request.id, "", request.data)


CALLS = [
    {},
    {"messages": [{"role": "user", "content": "another question"}]},
    {"temperature": NOT_GIVEN},
    {"temperature": 0.5},
    {"temperature": 1, "seed": 3},
    {"model": "n"},
    {"messages": [{"role": "user", "content": '"}],"model":"n","messages":[{"'}]},
    {"messages": [{"__message__": {"type": "human", "data": {"content": "hi"}}}]},
]


@pytest.mark.parametrize("defaults", [None, {"temperature": 0}, {"top_p": 1}])
def test_a_kind_is_measured_as_each_of_its_calls_is(defaults):
    provider, other = (OpenAIBatch(model="m", defaults=defaults) for _ in range(2))
    for number, arguments in enumerate([*CALLS, *CALLS]):
        request = request_of(number, **arguments)
        measured, alone = provider.measure(request), other.measure(read(request))
        assert measured[:2] == alone[:2]
        assert (measured.line is None) == (alone.line is None)
        if measured.line is not None:
            assert measured.line.write([request]) == alone.line.write([request])


def test_a_field_that_is_not_allowed_is_refused_after_a_call_without_it():
    provider = OpenAIBatch(allow=Allow(fields=["seed"], models=["m"]))
    provider.measure(request_of(1, temperature=NOT_GIVEN))
    with pytest.raises(RequestRefused, match="temperature"):
        provider.measure(request_of(2, temperature=1))
    with pytest.raises(RequestRefused, match="model"):
        provider.measure(request_of(3, model="n"))
