import json
from array import array

from hypothesis import given
from hypothesis import strategies as st
from test_server_batch import fresh

from batch_bridge.testing import Answer, Settings
from batch_bridge.testing._answers.answer import AnswerRequest
from batch_bridge.testing._batches.chunk import (
    CHUNK_BYTES,
    RequestLine,
    append_at,
    chunk_end,
    running_order,
    write_lines,
)
from batch_bridge.testing._server.seeded_random import SeededRandom


def write(answers, **options):
    settings = Settings().changed(options)
    lines = [RequestLine(f"r{index}", AnswerRequest("/v1/x", {"n": index}), None) for index in range(len(answers))]
    return write_lines(fresh(), lines, answers, SeededRandom(lambda: settings))


def read(data):
    return [json.loads(row) for row in bytes(data).splitlines()]


def test_what_was_written_beyond_the_committed_length_is_overwritten(tmp_path):
    path = tmp_path / "out"
    assert append_at(path, 0, b"") == 0
    assert not path.exists()
    assert append_at(path, 0, b"one\n") == 4
    append_at(path, 4, b"never committed\n")
    assert append_at(path, 4, b"two\n") == 8
    assert path.read_bytes() == b"one\ntwo\n"


def test_the_order_is_a_shuffle_that_does_not_change():
    order = running_order(fresh(), 1_000)
    assert sorted(order) == list(range(1_000)) != list(order)
    assert order == running_order(fresh(), 1_000)
    assert order != running_order(fresh(order_seed="0:2"), 1_000)
    assert list(running_order(fresh(order_seed=None), 5)) == [0, 1, 2, 3, 4]


@given(st.lists(st.integers(1, CHUNK_BYTES * 2), min_size=1, max_size=30))
def test_pieces_cover_everything_and_stay_small(sizes):
    offsets = array("Q", [number for size in sizes for number in (0, size)])
    order = array("L", range(len(sizes)))
    start = 0
    while start < len(sizes):
        end = chunk_end(offsets, order, start, len(sizes))
        assert start < end <= len(sizes)
        assert end == start + 1 or sum(sizes[start:end]) <= CHUNK_BYTES
        start = end


def test_successes_and_failures_go_to_different_files():
    chunk = write([Answer(200, {"ok": 1}), Answer(400, {"error": {}}), Answer(0, None), Answer(201, {})])
    assert [row["custom_id"] for row in read(chunk.output)] == ["r0", "r3"]
    errors = read(chunk.errors)
    assert [(row["custom_id"], row["response"]["status_code"], row["error"]) for row in errors] == [
        ("r1", 400, None),
        ("r2", 0, None),
    ]
    assert (chunk.lines, chunk.completed, len(chunk.paid)) == (4, 2, 2)


def test_every_line_fault_leaves_the_line_paid():
    answers = [Answer(200, {})] * 4
    for fault, ids in {
        "missing_line": [],
        "doubled_line": [0, 1, 2, 3, 0, 1, 2, 3],
        "unknown_line": [0, 1, 2, 3, "unknown", "unknown", "unknown", "unknown"],
    }.items():
        chunk = write(answers, **{fault: 1})
        want = [f"r{each}" if each != "unknown" else f"unknown-r{place - 4}" for place, each in enumerate(ids)]
        assert [row["custom_id"] for row in read(chunk.output)] == want
        assert (len(chunk.paid), chunk.fired[fault]) == (4, 4)
    garbled = write(answers, garbled_line=1)
    assert len(bytes(garbled.output).splitlines()) == 4
    assert b"}\n" not in bytes(garbled.output)


def test_an_identity_knows_the_tenant_the_id_and_the_body_but_not_its_key_order():
    def known(tenant, custom_id, body):
        lines = [RequestLine(custom_id, AnswerRequest("/v1/x", body), None)]
        settings = Settings()
        return write_lines(fresh(tenant=tenant), lines, [Answer(200, {})], SeededRandom(lambda: settings)).paid[0]

    same = known("t", "a", {"x": 1, "y": 2})
    assert known("t", "a", {"y": 2, "x": 1}) == same
    others = [known("u", "a", {"x": 1, "y": 2}), known("t", "b", {"x": 1, "y": 2}), known("t", "a", {"x": 1})]
    assert len({same[0], *(each[0] for each in others)}) == 4
    assert others[1][1] == same[1]
