"""Gemini's provider through the conformance kit, over real HTTP: with input files, and with requests inside."""

from datetime import timedelta

import pytest
from google import genai
from langchain_core.messages import HumanMessage, SystemMessage

from batch_bridge.providers.gemini import GeminiBatch
from batch_bridge.providers.gemini._provider import INLINE_BYTES
from batch_bridge.testing import BatchServer
from batch_bridge.testing.conformance import BEHAVIOURS, Subject

MODEL = "gemini-2.5-flash"
NO_PARTS = {
    "expiry": "an expired batch of Gemini's has no results",
    "partial": "Gemini does not document results of a cancelled batch, and the server shows none",
    "wrapped_error": "this server rewrites its errors",
}
INSIDE = {
    "bytes": "requests inside a create call are framed otherwise than lines of a file",
    "visible_after": "a batch without an input file cannot be stopped; it is looked for during `inline_doubt`",
    "dirty_line": "results inside a batch are part of its object, which the server writes as strict JSON",
    "unseen_file": "there is no input file",
}


@pytest.fixture(scope="module")
def server():
    with BatchServer() as running:
        yield running


def question(n):
    return [{"role": "user", "content": f"question {n}."}]


def subject(server, lacks, **options):
    def provider(account):
        client = genai.Client(api_key=account, http_options={"base_url": server.root_url})
        return GeminiBatch(client, model=MODEL, **options)

    return Subject(
        open=provider,
        item=question,
        answers=lambda n, answer: f"question {n}." in answer["candidates"][0]["content"]["parts"][0]["text"],
        server=server,
        forms=(
            question(0),
            [SystemMessage("Be brief."), HumanMessage("Grüße, ✓")],
            {"model": "gemini-2.5-pro", "messages": question(0), "generationConfig": {"temperature": 0.5}},
            {"contents": [{"role": "user", "parts": [{"text": "Hello"}]}], "generation_config": {"topK": 3}},
            {"messages": [HumanMessage("Hello")], "tools": [{"functionDeclarations": [{"name": "look"}]}]},
        ),
        bad="a string",
        lacks=lacks,
    )


def file(server):
    return subject(server, NO_PARTS)


def inline(server):
    return subject(server, {**NO_PARTS, **INSIDE}, inline_bytes=INLINE_BYTES, inline_doubt=timedelta(0))


@pytest.mark.sampled
@pytest.mark.parametrize("behaviour", BEHAVIOURS, ids=str)
@pytest.mark.parametrize("make", [file, inline], ids=lambda make: make.__name__)
async def test_conformance(make, behaviour, server):
    subject = make(server)
    if reason := behaviour.excuse(subject):
        pytest.skip(reason)
    await behaviour.check(subject)
