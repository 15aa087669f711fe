"""Every lane of every bundled provider through the conformance kit, over real HTTP."""

from datetime import timedelta

import pytest
from anthropic import AsyncAnthropic
from google import genai
from langchain_core.messages import HumanMessage, SystemMessage
from openai import AsyncAzureOpenAI, AsyncOpenAI

from batch_bridge.providers.anthropic import AnthropicBatch
from batch_bridge.providers.azure import AzureOpenAIBatch
from batch_bridge.providers.gemini import GeminiBatch
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.testing import BatchServer
from batch_bridge.testing.conformance import BEHAVIOURS, Subject


@pytest.fixture(scope="module")
def server():
    with BatchServer() as running:
        yield running


def question(n):
    return [{"role": "user", "content": f"question {n}."}]


FORMS = (question(0), [SystemMessage("Be brief."), HumanMessage("Grüße, ✓")])


def subject(server, made):
    return Subject(
        open=made,
        item=question,
        answers=lambda n, answer: f"question {n}." in str(answer),
        server=server,
        forms=FORMS,
        bad="a string",
    )


def openai(server):
    def made(account):
        return OpenAIBatch(AsyncOpenAI(base_url=server.base_url, api_key=account), model="gpt-5-mini")

    return subject(server, made)


def azure(server):
    def made(account):
        client = AsyncAzureOpenAI(azure_endpoint=server.root_url, api_key=account, api_version="2025-04-01-preview")
        return AzureOpenAIBatch(client, model="deployed")

    return subject(server, made)


def anthropic(server):
    def made(account):
        client = AsyncAnthropic(base_url=server.root_url, api_key=account)
        return AnthropicBatch(client, model="claude-haiku-4-5", lost_after=timedelta(seconds=1))

    return subject(server, made)


def gemini(server):
    def made(account):
        client = genai.Client(api_key=account, http_options={"base_url": server.root_url, "api_version": "v1beta"})
        return GeminiBatch(client, model="gemini-2.5-flash")

    return subject(server, made)


LANES = [
    (openai, "window:2h"),
    (openai, "window:8h"),
    (openai, "flex"),
    (openai, "realtime"),
    (azure, "flex"),
    (azure, "realtime"),
    (anthropic, "realtime"),
    (gemini, "flex"),
    (gemini, "realtime"),
]
SUBJECTS = [pytest.param(make, lane, id=f"{make.__name__}-{lane}") for make, lane in LANES]
FITTING = [
    pytest.param(make, lane, behaviour, id=f"{make.__name__}-{lane}-{behaviour}")
    for make, lane in LANES
    for behaviour in BEHAVIOURS
    if behaviour.excuse(make(BatchServer).in_lane(lane)) is None
]


@pytest.mark.sampled(most=24)
@pytest.mark.parametrize(("make", "lane", "behaviour"), FITTING)
async def test_conformance(make, lane, behaviour, server):
    await behaviour.check(make(server).in_lane(lane))


@pytest.mark.parametrize("make", [openai, azure, anthropic, gemini], ids=lambda make: make.__name__)
async def test_all_lanes_of_a_provider_are_in_the_table(make, server):
    provider = make(server).open("any")
    assert {lane for maker, lane in LANES if maker is make} == {*provider.lanes} - {"batch"}
    await provider.aclose()


@pytest.mark.parametrize(("make", "lane"), SUBJECTS)
def test_what_does_not_apply_to_a_lane_is_said(make, lane, server):
    made = make(server).in_lane(lane)
    excused = {str(each): each.excuse(made) for each in BEHAVIOURS}
    assert all(why is None or ": " in why or "is about" in why for why in excused.values())
    assert excused["every_request_gets_its_own_answer"] is None
    assert sum(why is None for why in excused.values()) >= 10
