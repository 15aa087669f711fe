"""What stands up to the last mark of the cache in a body."""

from datetime import timedelta

import pytest

from batch_bridge.providers.anthropic import AnthropicBatch
from batch_bridge.providers.anthropic._prefix import prefix_of

MARK = {"type": "ephemeral"}


def text(said, **mark):
    return {"type": "text", "text": said, **({"cache_control": MARK | mark} if mark else {})}


def marked(said):
    return {"type": "text", "text": said, "cache_control": MARK}


def user(*content):
    return {"role": "user", "content": list(content) if isinstance(content[0], dict) else content[0]}


def body(**fields):
    return {"model": "claude", "max_tokens": 5, "messages": [user("a question")], **fields}


BASE = body(system=[text("be brief"), marked("a book")])


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"messages": [user("another")]}, id="what comes later"),
        pytest.param({"system": [*BASE["system"], text("later")]}, id="a later block"),
        pytest.param({"max_tokens": 9, "temperature": 1}, id="what the cache does not hold"),
        pytest.param({"system": [marked("be brief"), marked("a book")]}, id="an earlier mark"),
        pytest.param({"system": [text("be brief"), dict(reversed(marked("a book").items()))]}, id="order of fields"),
        pytest.param({"tool_choice": {"type": "any"}}, id="the choice of a tool, of which no message is marked"),
    ],
)
def test_what_makes_no_difference(other):
    assert prefix_of({**BASE, **other}) == prefix_of(BASE)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"model": "another"}, id="the model"),
        pytest.param({"system": [text("be long"), marked("a book")]}, id="what comes before"),
        pytest.param({"tools": [{"name": "look"}]}, id="tools come first"),
        pytest.param({"system": [marked("be brief"), text("a book")]}, id="where the mark stands"),
        pytest.param({"messages": [user(marked("a question"))]}, id="a later mark"),
    ],
)
def test_what_makes_one(other):
    assert prefix_of({**BASE, **other}).key != prefix_of(BASE).key


def test_a_mark_of_messages_depends_on_who_speaks_and_on_what_voids_it():
    asked = body(messages=[user(marked("hello")), user("and?")])
    said = body(messages=[{"role": "assistant", "content": [marked("hello")]}, user("and?")])
    chosen = asked | {"tool_choice": {"type": "any"}}
    assert len({prefix_of(each).key for each in (asked, said, chosen)}) == 3
    assert prefix_of(body(system="x", messages=asked["messages"])) == prefix_of(
        body(system=[text("x")], messages=asked["messages"])
    )


@pytest.mark.parametrize(
    ("ttl", "minutes"), [({}, 5), ({"ttl": "5m"}, 5), ({"ttl": "1h"}, 60), ({"ttl": "?"}, 5), ({"ttl": []}, 5)]
)
def test_how_long_it_is_kept(ttl, minutes):
    last = {"name": "look", "cache_control": MARK | ttl}
    assert prefix_of(body(tools=[last])).lasts == timedelta(minutes=minutes)


@pytest.mark.parametrize(
    "plain",
    [
        body(),
        body(system="a book"),
        body(cache_control=MARK),
        body(system=[{"type": "text", "text": "a book", "cache_control": None}]),
        body(messages=["no message", {"role": "user", "content": 7}]),
        body(messages=None, tools="none"),
    ],
)
def test_a_body_without_a_mark_has_none(plain):
    assert prefix_of(plain) is None


def test_prime_is_yes_or_no():
    with pytest.raises(TypeError, match="prime='yes'"):
        AnthropicBatch(lambda: None, prime="yes")
