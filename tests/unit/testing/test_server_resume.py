"""What one call that resumes a thread may carry."""

import json

from batch_bridge._core.models import Succeeded
from batch_bridge._core.payload.interrupt_payload import Asked, read_envelope
from batch_bridge._server.delivery_policy import resume_map
from batch_bridge._server.threads.view import ParkedWait

OUTCOMES = {f"{n:032x}": Succeeded("x" * 1000) for n in range(10)}


def parked(address, *ids, bridge="bridge"):
    return ParkedWait(address, "task", tuple(Asked(each, bridge, "item") for each in ids), "")


def brought(answers):
    return [each for value in answers.values() for each in read_envelope(value)]


def test_all_answers_go_in_one_map():
    ids = list(OUTCOMES)
    answers = resume_map([parked("a", *ids[:4]), parked("b", *ids[4:])], "bridge", OUTCOMES)
    assert set(answers) == {"a", "b"}
    assert brought(answers) == ids


def test_what_is_too_large_for_one_call_is_left_for_the_next():
    ids = list(OUTCOMES)
    waits = [parked("a", *ids[:4]), parked("b", *ids[4:])]
    answers = resume_map(waits, "bridge", OUTCOMES, most_bytes=6500)
    assert brought(answers) == ids[:6]
    assert len(json.dumps(answers)) < 8000
    assert brought(resume_map(waits, "bridge", OUTCOMES, most_bytes=2500)) == ids[:2]
    assert set(resume_map(waits, "bridge", OUTCOMES, most_bytes=2500)) == {"a"}


def test_an_answer_that_is_too_large_alone_goes_alone():
    ids = list(OUTCOMES)
    assert brought(resume_map([parked("a", *ids)], "bridge", OUTCOMES, most_bytes=10)) == ids[:1]


def test_another_bridges_requests_are_not_answered():
    ids = list(OUTCOMES)
    assert resume_map([parked("a", ids[0], bridge="other")], "bridge", OUTCOMES) == {}
