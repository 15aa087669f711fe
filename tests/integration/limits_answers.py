"""What stands in for a model that never ends: it calls its tool each time."""

from batch_bridge.testing._answers.stand_in import stand_in


def answer(url, body):
    """Call the tool, with another argument each time; without tools, say something."""
    said = [each for each in body.get("messages", []) if isinstance(each, dict)]
    done = sum(each.get("role") == "assistant" for each in said)
    return stand_in(url, {**body, "messages": [*said, {"role": "user", "content": f"step {done}"}]})
