"""A provider's texts, before they reach a log, a terminal or an exception."""

import json

import pytest

from batch_bridge.providers._shared import clean_text as _clean
from batch_bridge.providers._shared.clean_text import clean
from batch_bridge.providers._shared.results.line_splitter import LineSplitter, TooLong
from batch_bridge.providers.openai._result import read_line


@pytest.mark.parametrize(
    "text",
    [
        "used gsk_0123456789abcdef here",
        "header api-key: 0123456789abcdef",
        "header X-Api-Key=0123456789abcdef",
        '{"api_key": "0123456789abcdef"}',
        "Authorization: Basic MDEyMzQ1Njc4OWFiY2RlZg==",
        "Authorization: Bearer 0123456789abcdef",
        "at https://user:0123456789abcdef@proxy.example/x",
        "key sk-0123456789abcdef",
    ],
)
def test_keys_are_masked(text):
    assert "***" in clean(text)
    assert "0123456789abcdef" not in clean(text)
    assert "MDEy" not in clean(text)


def test_the_key_that_calls_are_made_with_is_masked_literally():
    _clean.remember_headers({"x-api-key": "plain words as a key"})
    assert clean("you sent plain words as a key!") == "you sent ***!"
    line = json.dumps({"custom_id": "a", "error": {"message": "plain words as a key"}}).encode()
    assert b"plain words" not in _clean.without_secrets(line)


def test_a_short_value_is_no_key():
    _clean.remember("test")
    assert clean("this is a test") == "this is a test"


def test_nothing_that_a_terminal_obeys_is_left():
    dirty = "a\x1b[31mb\x1b]0;title\x07c\r\nd\x9b2Je\u202ef\u2028g\x00h\ud800i"
    assert clean(dirty).isprintable()
    line = json.dumps(
        {"custom_id": "a", "response": {"status_code": 400, "body": {"error": {"message": dirty, "code": "x\ny"}}}}
    )
    _, errored = read_line(line.encode())
    assert errored.message.isprintable()
    assert errored.code == "x y"


def test_words_about_keys_are_kept():
    assert clean("The api_key is invalid; basic auth is off") == "The api_key is invalid; basic auth is off"


@pytest.mark.parametrize("size", [1, 3, 100])
def test_a_line_that_is_too_long_loses_its_middle_and_no_neighbour(size):
    data = b"one\n" + b"x" * 50 + b"\ntwo\n" + b"y" * 40
    splitter = LineSplitter(10)
    lines = [line for start in range(0, len(data), size) for line in splitter.feed(data[start : start + size])]
    lines += splitter.end()
    assert lines[0] == b"one"
    assert lines[2] == b"two"
    assert isinstance(lines[1], TooLong)
    assert isinstance(lines[3], TooLong)
