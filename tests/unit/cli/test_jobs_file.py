"""The file that `batch-bridge jobs submit` reads: one item on each line, however it was saved."""

import json

import pytest

from batch_bridge._cli.jobs import _read
from batch_bridge.jobs._job_items import named

LINE = {"custom_id": "q1", "method": "POST", "url": "/v1/chat/completions", "body": {"messages": []}}
TEXT = json.dumps(LINE).encode()
TALK = [{"role": "user", "content": "hi"}]


def read(text):
    return _read(text.splitlines(keepends=True))


@pytest.mark.parametrize(
    ("text", "places"),
    [
        pytest.param(TEXT, [1], id="no newline at the end"),
        pytest.param(TEXT + b"\r\n" + TEXT + b"\r\n", [1, 2], id="CRLF"),
        pytest.param(b"\xef\xbb\xbf" + TEXT + b"\n\n \t\n" + TEXT + b"\n\n", [1, 4], id="a BOM, and blank lines"),
        pytest.param(b"\xef\xbb\xbf\r\n" + TEXT, [2], id="a BOM on a line of its own"),
        pytest.param(json.dumps(TALK).encode(), [1], id="one conversation is an item"),
        pytest.param(b'["a", "b"]\n["c"]\n', [1, 2], id="lists are items, if there are several"),
        pytest.param(b"", [], id="nothing"),
    ],
)
def test_each_line_is_an_item_with_its_number(text, places):
    assert [*read(text)] == [f"line {number}" for number in places]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param(b"[" + TEXT + b"]", "one JSON array", id="an array"),
        pytest.param(b"\n\n[" + TEXT + b"]", "one JSON array", id="an array below blank lines"),
        pytest.param(b"\xef\xbb\xbf[\n" + TEXT + b"\n]", "one JSON array.*jq -c", id="an array over some lines"),
        pytest.param(json.dumps([TALK, TALK]).encode(), "one JSON array", id="an array of conversations"),
        pytest.param(TEXT + b"\r\n\r\n{oops}\r\n", r"^line 3 is not JSON: [^0-9]* \(column 2\)", id="no JSON"),
        pytest.param(TEXT + b"\n[\n", "^line 2 is not JSON", id="no array, if there were items before"),
        pytest.param(TEXT.decode().encode("utf-16"), "^line 1 is not JSON.*UTF-8", id="UTF-16"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text, says):
    with pytest.raises(ValueError, match=says):
        read(text)


def test_two_of_one_custom_id_are_said_with_both_lines():
    items = read(TEXT + b"\n\n" + json.dumps({**LINE, "custom_id": "q2"}).encode() + b"\n" + TEXT)
    with pytest.raises(ValueError, match="line 1 and line 4 have the same custom_id, 'q1'"):
        named(items.values(), tuple(items))
