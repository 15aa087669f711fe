"""The bridges of this deployment. Each is named in langgraph.json like a graph; nodes name it by that id.

One process may be stopped and another may go on, so a bridge keeps nothing in memory that it could not do without:
requests, batches and outcomes are in the deployment's store, and a batch is known by its handle.
"""

import json
import os
import tempfile
import uuid
from datetime import timedelta
from pathlib import Path

from batch_bridge import Bridge, FlushPolicy
from batch_bridge.providers.openai import OpenAIBatch

# -- a bundled provider --------------------------------------------------------------------------------------------

QUIET = float(os.environ.get("BRIDGE_QUIET_SECONDS", "60"))
POLL = float(os.environ.get("BRIDGE_POLL_SECONDS", "60"))

bridge = Bridge(
    # Reads OPENAI_API_KEY, OPENAI_BASE_URL and so on, as the `openai` client does, when it is first needed.
    OpenAIBatch(model=os.environ.get("OPENAI_MODEL", "gpt-4o-mini")),
    flush=FlushPolicy(
        max_requests=50_000,  # a batch is full,
        max_age=timedelta(minutes=30),  # or its first request has waited for so long,
        max_idle=timedelta(seconds=QUIET),  # or no other has come for so long: whichever is first
    ),
    poll_interval=POLL,
)

# -- your own pair of functions ------------------------------------------------------------------------------------

JOBS = Path(os.environ.get("READABILITY_JOBS", Path(tempfile.gettempdir()) / "readability-jobs"))
"""Where jobs are left, for whoever works at them. Here that is `poll` itself."""


def submit(items: list[dict[str, str]]) -> str:
    """Hand in a batch, and return what it is found by: anything JSON can carry. It is stored before `poll` is called.

    A function that is not async runs in a thread, so it may block.
    """
    JOBS.mkdir(parents=True, exist_ok=True)
    job = uuid.uuid4().hex
    (JOBS / f"{job}.json").write_text(json.dumps(items))
    return job


def poll(job: str) -> list[float | ValueError] | None:
    """Return `None` while the batch runs; then an answer for each item, in the order of the items.

    May be called again for a batch that has ended, also by another process.
    """
    items = json.loads((JOBS / f"{job}.json").read_text())
    return [_words_a_sentence(item["text"]) for item in items]


def _words_a_sentence(text: str) -> float | ValueError:
    sentences = [each for each in text.replace("!", ".").replace("?", ".").split(".") if each.strip()]
    if not sentences:
        return ValueError("the text has no sentence")  # fails this request, and no other: the node's wait raises
    return round(len(text.split()) / len(sentences), 1)


readability = Bridge(
    submit=submit,
    poll=poll,
    name="readability",  # as in langgraph.json
    flush=FlushPolicy(max_requests=1000, max_age=timedelta(minutes=1), max_idle=timedelta(seconds=2)),
    poll_interval=5,
)
