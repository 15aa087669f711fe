"""No provider blocks the event loop: LangGraph's development server refuses a call that does."""

import pytest
import test_conformance
import test_gemini_conformance
from blockbuster import blockbuster_ctx

from batch_bridge.testing import BatchServer
from batch_bridge.testing.conformance import BEHAVIOURS

SUBJECTS = [
    test_conformance.openai,
    test_conformance.anthropic,
    test_gemini_conformance.file,
    test_gemini_conformance.inline,
]
JOBS = [
    behaviour
    for behaviour in BEHAVIOURS
    if str(behaviour) in {"every_request_gets_its_own_answer", "failed_lines_harm_no_neighbour"}
]


@pytest.fixture(scope="module")
def server():
    with BatchServer() as running:
        yield running


@pytest.mark.parametrize("behaviour", JOBS, ids=str)
@pytest.mark.parametrize("make", SUBJECTS, ids=lambda make: make.__name__)
async def test_no_call_of_a_provider_blocks(make, behaviour, server):
    subject = make(server)
    with blockbuster_ctx("batch_bridge.providers"):  # the kit itself asks the server how things are, and waits for it
        await behaviour.check(subject)
