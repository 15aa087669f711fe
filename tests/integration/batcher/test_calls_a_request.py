"""What is called for each request of a wave, from the caller to the provider and back: a handful of functions.

Everything else handles a wave at once. Unlike a time, a number of calls is the same on every machine; `make bench` tells
what they cost.
"""

import sys
import threading
from collections import Counter
from pathlib import Path

import pytest
from openai import AsyncOpenAI

import batch_bridge
from batch_bridge import Batcher
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.testing import BatchServer

REQUESTS = 400
FOLDER = str(Path(batch_bridge.__file__).parent)
FOR_EACH = {
    "encode_bytes": 1,  # a snapshot of the item, which is a check too
    "serialize": 1,
    "__init__": 2,  # the request, and its outcome
    "plain_counts": 1,  # the tokens of the answer
}


@pytest.fixture(scope="module")
def server():
    with BatchServer(latency=0) as server:
        yield server


def calls_of(work):
    """Return how often each function of the package was called meanwhile, those that were called for each request."""
    counted = Counter()

    def note(frame, event, _):
        if event == "call" and frame.f_code.co_filename.startswith(FOLDER):
            counted[frame.f_code.co_name] += 1

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return {name: count // REQUESTS for name, count in counted.items() if count >= REQUESTS}


def test_a_wave_calls_few_functions_for_each_of_its_requests(server):
    items = [[{"role": "user", "content": f"question {number}"}] for number in range(REQUESTS)]

    def ask():
        provider = OpenAIBatch(lambda: AsyncOpenAI(base_url=server.base_url, api_key="k"), model="gpt-4o-mini")
        with Batcher(provider, poll_interval=1) as batcher:
            assert len(batcher.map(items)) == REQUESTS

    assert calls_of(ask) == FOR_EACH
