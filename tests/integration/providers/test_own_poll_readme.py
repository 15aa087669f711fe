"""What the README says of providers that shuffle their lines, as it stands there."""

import random
import re
from pathlib import Path

import pytest

from batch_bridge import Batcher

README = (Path(__file__).parents[3] / "README.md").read_text()
LINE = {"method": "POST", "url": "/v1/chat/completions"}


def said(end):
    """Return the line of the README's example that ends with a comment, without it."""
    (line,) = re.findall(rf"^(.*)  # {end}$", README, re.MULTILINE)
    return line


@pytest.mark.parametrize("own_ids", [False, True], ids=["by position", "by the items' own ids"])
def test_shuffled_lines_reach_the_items_that_they_answer(own_ids):
    scope = {"LINE": LINE}
    exec(f"def write(items):\n    {said('in submit')}\n    return lines", scope)  # the README's own words
    key = 'line["custom_id"]'
    read = said("in poll").replace(f"int({key})", key) if own_ids else said("in poll")
    exec(f"def read(output):\n    {read}", scope)
    outputs = {}

    def submit(items):
        lines = items if own_ids else scope["write"](items)
        answered = [{"custom_id": each["custom_id"], "response": {"body": each["body"]["n"]}} for each in lines]
        random.Random(3).shuffle(answered)
        outputs["batch"] = answered
        return "batch"

    def poll(handle):
        return scope["read"](outputs[handle])

    items = [{"n": n} for n in range(200)]
    if own_ids:
        items = [{"custom_id": f"request-{item['n']}", **LINE, "body": item} for item in items]
    with Batcher(submit_func=submit, poll_func=poll, poll_interval=0.02) as batcher:
        assert batcher.map(items) == list(range(200))
