from dataclasses import replace

import pytest
from openai.types import Batch as SDKBatch

from batch_bridge.testing import BatchServerError
from batch_bridge.testing._batches.batch import ENDED, NEXT, ServedBatch, problem, usage_of


def fresh(**changes):
    batch = ServedBatch(
        id="batch_1",
        ordinal=1,
        tenant="t",
        endpoint="/v1/responses",
        input_file_id="file-1",
        metadata={"key": "value"},
        output_expires_after=None,
        order_seed="0:1",
        created_at=100.7,
        visible_at=100.7,
        expires_at=500.0,
        output_file_id="file-2",
        error_file_id="file-3",
    )
    return replace(batch, **changes)


def test_the_legal_path():
    batch = fresh().to("in_progress", 101.5, total=2).to("finalizing", 102.5).to("completed", 103.5)
    assert (batch.in_progress_at, batch.finalizing_at, batch.completed_at) == (101.5, 102.5, 103.5)
    assert batch.ended


@pytest.mark.parametrize(("before", "after"), [(a, b) for a in NEXT for b in NEXT if b not in NEXT[a]])
def test_illegal_transitions_raise(before, after):
    with pytest.raises(BatchServerError, match=f"is {before} and cannot become {after}"):
        fresh(status=before).to(after, 1.0)


def test_what_has_ended_leads_nowhere():
    assert frozenset({"completed", "failed", "expired", "cancelled"}) == ENDED


def test_the_record_goes_round():
    batch = fresh(errors=(problem("code", "text", line=3),), total=5, seen=True)
    assert ServedBatch.load(batch.dump()) == batch


@pytest.mark.parametrize("status", NEXT)
def test_the_wire_object_is_the_sdks(status):
    batch = fresh(status=status, output_bytes=5, errors=(problem("code", "text"),))
    parsed = SDKBatch.model_validate(batch.wire(), strict=True)
    assert parsed.status == status
    assert parsed.created_at == 100
    assert parsed.output_file_id == ("file-2" if status in ENDED else None)
    assert parsed.error_file_id is None


def test_usage_in_both_spellings():
    chat = {"prompt_tokens": 5, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 2}}
    responses = {"input_tokens": 5, "output_tokens": 3, "output_tokens_details": {"reasoning_tokens": 1}}
    assert usage_of({"usage": chat}) == (5, 2, 3, 0)
    assert usage_of({"usage": responses}) == (5, 0, 3, 1)
    for nothing in (None, [], {}, {"usage": None}, {"usage": {"prompt_tokens": "5"}}):
        assert usage_of(nothing) == (0, 0, 0, 0)
