"""Every provider through the conformance kit, over real HTTP."""

from datetime import timedelta

import pytest
from anthropic import AsyncAnthropic
from langchain_core.messages import HumanMessage, SystemMessage
from openai import AsyncOpenAI

from batch_bridge.providers.anthropic import AnthropicBatch
from batch_bridge.providers.anthropic._call import FRAME
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.testing import BatchServer
from batch_bridge.testing.conformance import BEHAVIOURS, Subject


@pytest.fixture(scope="module")
def server():
    with BatchServer() as running:
        yield running


def question(n):
    return [{"role": "user", "content": f"question {n}."}]


def openai(server):
    return Subject(
        open=lambda account: OpenAIBatch(AsyncOpenAI(base_url=server.base_url, api_key=account), model="gpt-4o-mini"),
        item=question,
        answers=lambda n, answer: f"question {n}." in answer["choices"][0]["message"]["content"],
        server=server,
        forms=(
            question(0),
            [SystemMessage("Be brief."), HumanMessage("Grüße, ✓")],
            {"model": "gpt-4.1", "messages": question(0), "temperature": 0.5},
            {"input": "Hello"},
            {"url": "/v1/embeddings", "body": {"model": "text-embedding-3-small", "input": ["a", "b"]}},
        ),
        bad="a string",
    )


def anthropic(server):
    return Subject(
        open=lambda account: AnthropicBatch(
            AsyncAnthropic(base_url=server.root_url, api_key=account),
            model="claude-haiku-4-5",
            lost_after=timedelta(seconds=1),
        ),
        item=question,
        answers=lambda n, answer: f"question {n}." in answer["content"][0]["text"],
        server=server,
        forms=(
            question(0),
            [SystemMessage("Be brief."), HumanMessage("Grüße, ✓")],
            [{"role": "system", "content": "Be brief."}, *question(0)],
            {"model": "claude-opus-4-5", "max_tokens": 9, "messages": question(0), "temperature": 0.5},
            {"params": {"messages": question(0)}},
        ),
        bad="a string",
        frame=FRAME,
        lacks={
            "batch_failure": "a batch never fails as a whole; its requests do",
            "upload_error": "there is no upload",
            "unseen_file": "there is no input file",
            "wrapped_error": "this server rewrites its errors",
        },
    )


SUBJECTS = [openai, anthropic]


@pytest.mark.parametrize("behaviour", BEHAVIOURS, ids=str)
@pytest.mark.parametrize("make", SUBJECTS, ids=lambda make: make.__name__)
async def test_conformance(make, behaviour, server):
    subject = make(server)
    if reason := behaviour.excuse(subject):
        pytest.skip(reason)
    await behaviour.check(subject)
