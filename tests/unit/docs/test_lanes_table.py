"""The table of the lanes says what the code does: each lane's price, its time, and which providers have it."""

import re
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from openai import AsyncAzureOpenAI, AsyncOpenAI

from batch_bridge._core.policy.flush_policy import FlushPolicy
from batch_bridge._core.policy.lanes import LANES
from batch_bridge._core.policy.vendor_terms import terms_of
from batch_bridge._money import share_of
from batch_bridge.bridge._deadline import Deadline
from batch_bridge.bridge._ladder import ladder_of
from batch_bridge.providers.anthropic import AnthropicBatch
from batch_bridge.providers.azure import AzureOpenAIBatch
from batch_bridge.providers.gemini import GeminiBatch
from batch_bridge.providers.openai import OpenAIBatch

PAGE = Path(__file__).parents[3] / "docs" / "lanes.md"
PRICES = {"half": Decimal("0.5"), "40 % off": Decimal("0.6"), "30 % off": Decimal("0.7"), "full": Decimal(1)}
TIMES = {"hours, a day": timedelta(days=1), "8 hours": timedelta(hours=8), "2 hours": timedelta(hours=2)}
PROVIDERS = {
    "OpenAIBatch": OpenAIBatch(AsyncOpenAI(api_key="k"), model="m"),
    "AzureOpenAIBatch": AzureOpenAIBatch(
        AsyncAzureOpenAI(azure_endpoint="https://x.openai.azure.com", api_key="k", api_version="2025-04-01-preview"),
        model="m",
    ),
    "GeminiBatch": GeminiBatch(model="m"),
    "AnthropicBatch": AnthropicBatch(model="m"),
}


def rows():
    """Return the columns of each lane's row, by its name; "the same" and "the above" are what the rows above say."""
    found, before = {}, []
    for line in PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if not (name := re.fullmatch(r'`"([\w:]+)"`', cells[0])):
            continue
        columns = [old if new.startswith("the same") else new for new, old in zip(cells, before or cells, strict=True)]
        columns[-1] = columns[-1].replace("the above", before[-1] if before else "")
        found[name[1]] = before = columns
    return found


ROWS = rows()


def test_each_lane_has_a_row():
    assert list(ROWS) == list(LANES)


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("name", PROVIDERS)
def test_a_row_tells_the_price_and_who_has_the_lane(lane, name):
    _, price, _, _, providers = ROWS[lane]
    provider = PROVIDERS[name]
    is_named = providers == "all" or name in re.findall(r"`(\w+)`", providers)
    above = lane == "realtime" and name != "AnthropicBatch"  # it refers to the rows above
    assert (is_named or above) == (lane in provider.lanes)
    if lane in provider.lanes:
        assert share_of(lane, provider.vendor) == PRICES[price]


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_row_tells_how_long_it_takes(name):
    provider = PROVIDERS[name]
    names = [lane for lane in LANES if lane in provider.lanes]
    ladder = ladder_of(provider, names, Deadline(), flush=FlushPolicy(), terms=terms_of(name))
    for lane in ladder.lanes:
        said = ROWS[lane.name][2]
        promised = next((time for text, time in TIMES.items() if said.startswith(text)), None)
        if lane.name == "batch" and name == "GeminiBatch":
            assert said.endswith("Gemini: two")
            promised = timedelta(days=2)
        assert promised is None or lane.rung.takes == promised
