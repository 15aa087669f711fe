"""What stands in for a model in the tests of LangChain's models: an agent's loop, of the request alone."""

import copy

from batch_bridge.testing import Answer
from batch_bridge.testing._answers.stand_in import stand_in

STEPS = 2
"""Calls of tools before the answer: three calls of the model in all."""


def answer(url, body):
    """A model that calls its tools: one, then two at once, then answers. Text that begins with "fail" is refused."""
    if not url.endswith(("/chat/completions", "/responses")):
        return _other(url, body)
    items = body.get("messages") or body.get("input") or []
    said = [each for each in items if isinstance(each, dict)] if isinstance(items, list) else []
    text = str(said[-1].get("content", "")) if said else str(items)
    if refused := _refusal(text):
        return refused
    done = sum(1 for each in said if each.get("role") == "assistant" or each.get("type") == "function_call")
    results = sum(1 for each in said if each.get("role") == "tool" or each.get("type") == "function_call_output")
    if not body.get("tools") or results > STEPS or body.get("tool_choice"):
        return stand_in(url, body)
    key = "messages" if "messages" in body else "input"
    made = stand_in(url, {**body, key: [*said, {"role": "user", "content": f"step {done}"}]})
    return Answer(made.status_code, _doubled(made.body) if results == 1 else made.body)


def _other(url, body):
    """The same refusals, in the words of Anthropic and of Gemini."""
    if "fail 429" in str(body):
        error = {"message": "it is busy", "type": "rate_limit_error", "code": 429, "status": "RESOURCE_EXHAUSTED"}
        return Answer(429, {"type": "error", "error": error})
    return stand_in(url, body)


def _refusal(text):
    for status, kind in ((400, "bad"), (429, "busy"), (500, "broken")):
        if f"fail {status}" in text:
            return Answer(status, {"error": {"message": f"it is {kind}", "type": "stand_in", "code": kind}})
    return None


def _doubled(body):
    """The same call twice, as two calls."""
    body = copy.deepcopy(body)
    if "choices" in body:
        calls = body["choices"][0]["message"]["tool_calls"]
        calls.append({**calls[0], "id": f"{calls[0]['id']}b"})
    else:
        first = body["output"][0]
        body["output"].append({**first, "id": f"{first['id']}b", "call_id": f"{first['call_id']}b"})
    return body
