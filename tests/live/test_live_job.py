"""A job of three short requests at each real provider whose key is in the environment: `make test-live`.

It costs a fraction of a cent. A batch may take a day: what has not ended after `BATCH_BRIDGE_LIVE_WAIT` seconds (600 unless
set) is left in `BATCH_BRIDGE_LIVE_FILE` (`.live/jobs.db` unless set), and the next `make test-live` goes on with it.
`BATCH_BRIDGE_LIVE_MODEL_OPENAI=…`, and so on for each provider, names another model.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage

from batch_bridge.jobs import Jobs
from batch_bridge.providers import create

pytestmark = pytest.mark.live

WORDS = ("apple", "river", "stone")
ITEMS = {word: [HumanMessage(f"Reply with the single word {word} and nothing else.")] for word in WORDS}
FILE = Path(os.environ.get("BATCH_BRIDGE_LIVE_FILE") or Path(__file__).parents[2] / ".live" / "jobs.db")
WAIT = float(os.environ.get("BATCH_BRIDGE_LIVE_WAIT") or 600)

SHORT = {"defaults": {"max_tokens": 16, "temperature": 0}}


@dataclass(frozen=True)
class Live:
    """How one provider is asked. `model` is the cheapest that its batches take; there may be none to name."""

    name: str
    needs: tuple[str, ...]
    model: str | None
    options: dict[str, Any] = field(default_factory=lambda: SHORT)


PROVIDERS = [
    Live("openai", ("OPENAI_API_KEY",), "gpt-4.1-nano"),
    Live("azure", ("AZURE_OPENAI_API_KEY", "AZURE_OPENAI_ENDPOINT", "OPENAI_API_VERSION"), None),
    Live("anthropic", ("ANTHROPIC_API_KEY",), "claude-haiku-4-5", {"max_tokens": 16}),
    Live(
        "gemini",
        ("GEMINI_API_KEY",),
        "gemini-2.5-flash-lite",
        {"defaults": {"generationConfig": {"maxOutputTokens": 16}}},
    ),
    Live("groq", ("GROQ_API_KEY",), "llama-3.1-8b-instant"),
    Live("together", ("TOGETHER_API_KEY",), "meta-llama/Meta-Llama-3-8B-Instruct-Lite"),
    Live("mistral", ("MISTRAL_API_KEY",), "mistral-small-latest"),
    Live("doubleword", ("DOUBLEWORD_API_KEY",), None),
]


@pytest.mark.parametrize("live", PROVIDERS, ids=lambda live: live.name)
def test_a_job_of_three(live):
    missing = [name for name in live.needs if not os.environ.get(name)]
    variable = f"BATCH_BRIDGE_LIVE_MODEL_{live.name.upper()}"
    model = os.environ.get(variable) or live.model
    if model is None:
        missing.append(variable)
    if missing:
        pytest.skip(f"{live.name}: set {', '.join(missing)}")
    FILE.parent.mkdir(parents=True, exist_ok=True)
    jobs = Jobs(FILE, create(live.name, model=model, **live.options), name=live.name)
    left = jobs.handles()
    handle = left[0] if left else jobs.submit(ITEMS)
    try:
        jobs.join(handle, timeout=WAIT)
    except TimeoutError as error:
        pytest.skip(f"{live.name}: {error}; run `make test-live` again")
    results = list(jobs.results(handle))
    status = jobs.status(handle)
    jobs.forget(handle)  # also if it failed: the next run asks again
    assert [result.name for result in results] == list(WORDS)
    for result in results:
        assert result.error is None, f"{result.name}: {result.error!r}"
        assert result.name in result.answer.text.lower()
    assert status.outcomes == {"succeeded": len(WORDS)}
    usage = [batch.usage for batch in status.batches if batch.usage is not None]
    assert all(each.input_tokens and each.output_tokens for each in usage)
