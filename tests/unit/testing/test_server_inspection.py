import json

import pytest

from batch_bridge.testing import Limits
from batch_bridge.testing._batches.inspection import inspect, scan

CHAT = "/v1/chat/completions"


def row(custom_id="a", **changes):
    return {
        "custom_id": custom_id,
        "method": "POST",
        "url": CHAT,
        "body": {"model": "m", "messages": []},
    } | changes


def raw(*rows):
    return [each if isinstance(each, bytes) else json.dumps(each).encode() + b"\n" for each in rows]


def check(lines, endpoint=CHAT, **limits):
    return inspect(lines, endpoint=endpoint, limits=Limits(**limits))


def test_a_good_file():
    lines = raw(row("a"), b"\n", row("b"), row("c"))
    found = check(lines)
    assert (found.problems, found.total, found.model) == ((), 3, "m")
    text = b"".join(lines)
    got = [json.loads(text[start : start + size]) for start, size in zip(*[iter(found.offsets)] * 2, strict=True)]
    assert [each["custom_id"] for each in got] == ["a", "b", "c"]
    assert scan(lines) == found.offsets


@pytest.mark.parametrize(
    ("lines", "limits", "code", "line"),
    [
        ([], {}, "empty_file", None),
        ([b"\n", b"  \n"], {}, "empty_file", None),
        (raw(row("a"), b"{nope\n"), {}, "invalid_json_line", 2),
        (raw(b"\xff\xfe\n"), {}, "invalid_json_line", 1),
        (raw(b"[1]\n"), {}, "invalid_json_line", 1),
        (raw({"method": "POST", "url": CHAT, "body": {}}), {}, "missing_required_parameter", 1),
        (raw(row(None)), {}, "missing_required_parameter", 1),
        (raw(row(7)), {}, "invalid_type", 1),
        (raw(row(body="x")), {}, "invalid_type", 1),
        (raw(row("")), {}, "invalid_value", 1),
        (raw(row("a"), row("b"), row("a")), {}, "duplicate_custom_id", 3),
        (raw(row(method="GET")), {}, "invalid_method", 1),
        (raw(row(url="/v1/embeddings")), {}, "url_mismatch", 1),
        (raw(row("a"), row("b", body={"model": "n"})), {}, "model_mismatch", 2),
        (raw(row("a"), row("b", body={})), {}, "model_mismatch", 2),
        (raw(row(body={"model": "m", "stream": True})), {}, "invalid_request", 1),
        (raw(row("a"), row("b"), row("c")), {"max_lines": 2}, "too_many_tasks", 3),
        (raw(row("a")), {"max_file_bytes": 10}, "file_too_large", None),
    ],
)
def test_each_problem_is_named_with_its_line(lines, limits, code, line):
    (problem, *_) = check(lines, **limits).problems
    assert (problem["code"], problem["line"]) == (code, line)
    assert set(problem) == {"code", "line", "message", "param"}


def test_embedding_inputs_are_counted_over_all_lines():
    def embed(name, what):
        return row(name, url="/v1/embeddings", body={"model": "m", "input": what})

    lines = raw(embed("a", ["x"] * 3), embed("b", "x"), embed("c", [1, 2, 3]))
    assert check(lines, "/v1/embeddings", max_embedding_inputs=5).problems == ()
    (problem,) = check(lines, "/v1/embeddings", max_embedding_inputs=4).problems
    assert (problem["code"], problem["line"]) == ("too_many_inputs", 3)


def test_a_file_that_is_wrong_throughout_reports_a_bounded_number():
    assert len(check([b"x\n"] * 5_000).problems) == 100
