"""The far side of the test projects' bridges: it writes down each batch, and answers `<item>!` when it is let to.

`fail…` is an error the first time that it comes, `broken…` always.
"""

import json
import os
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from batch_bridge import Bridge, FlushPolicy

LOG, HOLDS = Path(os.environ["DESK_LOG"]), Path(os.environ["DESK_HOLDS"])
_failed: set[str] = set()


def submit(bridge: str, items: list[Any]) -> list[Any]:
    """Write a batch down; its handle is all there is to know of it."""
    with LOG.open("a") as log:
        log.write(json.dumps({"bridge": bridge, "items": items}) + "\n")
    return items


def poll(bridge: str, handle: list[Any]) -> list[Any] | None:
    """Answer, unless told to wait."""
    held = HOLDS / bridge
    if held.exists() and any(held.read_text() in str(item) for item in handle):
        return None
    return [answer(item) for item in handle]


def answer(item: Any) -> Any:
    """Answer one item."""
    text = item if isinstance(item, str) else ""
    if text.startswith("broken") or (text.startswith("fail") and text not in _failed):
        _failed.add(text)
        return RuntimeError(f"no answer to {text}")
    return f"{item}!"


def bridge(name: str = "bridge", *, max_age: float = 0, poll_interval: float = 4, **options: Any) -> Bridge:
    """Return a bridge to this desk."""
    flush = FlushPolicy(max_age=timedelta(seconds=max_age))
    return Bridge(
        submit=partial(submit, name),
        poll=partial(poll, name),
        name=name,
        flush=flush,
        poll_interval=poll_interval,
        **options,
    )
