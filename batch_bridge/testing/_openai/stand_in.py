"""Stand-in answers that are text or calls of tools: chat completions, responses, completions."""

from collections.abc import Mapping
from typing import Any

import orjson

from batch_bridge.testing._answers.asked import Question, token_count
from batch_bridge.testing._answers.instance import instance

CREATED = 1_735_689_600
"""Answers depend on the request alone, so they all claim the same moment: the start of 2025."""

MAX_CHOICES = 128


def chat(asked: Question) -> dict[str, Any]:
    """A chat completion."""
    body = asked.body
    messages = body["messages"] if isinstance(body["messages"], list) else []
    last = messages[-1] if messages and isinstance(messages[-1], Mapping) else {}
    message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None, "annotations": []}
    finish = "stop"
    call = _tool(body, messages) if last.get("role") == "user" else None
    if call is not None and asked.text is None:
        name, arguments = call
        function = {"name": name, "arguments": arguments}
        message["tool_calls"] = [{"id": f"call_{asked.digest[:24]}", "type": "function", "function": function}]
        finish, said = "tool_calls", arguments
    else:
        said = message["content"] = _structured(asked, _chat_schema(body)) or asked.say(_question(messages))
    choice = {"message": message, "logprobs": None, "finish_reason": finish}
    count = body.get("n")
    count = min(count, MAX_CHOICES) if isinstance(count, int) and count > 0 else 1
    out = token_count(said) * count
    return {
        "id": f"chatcmpl-{asked.digest[:29]}",
        "object": "chat.completion",
        "created": CREATED,
        "model": asked.model,
        "choices": [{"index": index, **choice} for index in range(count)],
        "usage": {
            "prompt_tokens": asked.tokens,
            "completion_tokens": out,
            "total_tokens": asked.tokens + out,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": 0,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        },
        "service_tier": "default",
        "system_fingerprint": "fp_stand_in",
    }


def response(asked: Question) -> dict[str, Any]:
    """A response of the Responses API."""
    body = asked.body
    items = body["input"] if isinstance(body["input"], list) else [{"role": "user", "content": body["input"]}]
    last = items[-1] if items and isinstance(items[-1], Mapping) else {}
    call = _tool(body, items) if last.get("role") == "user" else None
    item: dict[str, Any]
    if call is not None and asked.text is None:
        name, said = call
        item = {
            "id": f"fc_{asked.digest[:32]}",
            "type": "function_call",
            "call_id": f"call_{asked.digest[:24]}",
            "name": name,
            "arguments": said,
            "status": "completed",
        }
    else:
        said = _structured(asked, _response_schema(body)) or asked.say(_question(items))
        content = {"type": "output_text", "text": said, "annotations": [], "logprobs": []}
        item = {
            "id": f"msg_{asked.digest[:32]}",
            "type": "message",
            "status": "completed",
            "role": "assistant",
            "content": [content],
        }
    out = token_count(said)
    echoed = {name: body.get(name, default) for name, default in _ECHOED.items()}
    return {
        "id": f"resp_{asked.digest[:32]}",
        "object": "response",
        "created_at": CREATED,
        "status": "completed",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "model": asked.model,
        "output": [item],
        **echoed,
        "usage": {
            "input_tokens": asked.tokens,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": out,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": asked.tokens + out,
        },
    }


_ECHOED: Mapping[str, Any] = {
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "truncation": "disabled",
}


def completion(asked: Question) -> dict[str, Any]:
    """A completion of the old kind; one choice for each prompt."""
    prompt = asked.body["prompt"]
    prompts = prompt if isinstance(prompt, list) and prompt and isinstance(prompt[0], str) else [prompt]
    texts = [asked.say(str(one)) for one in prompts]
    out = sum(map(token_count, texts))
    return {
        "id": f"cmpl-{asked.digest[:29]}",
        "object": "text_completion",
        "created": CREATED,
        "model": asked.model,
        "choices": [
            {"index": index, "text": text, "logprobs": None, "finish_reason": "stop"}
            for index, text in enumerate(texts)
        ],
        "usage": {
            "prompt_tokens": asked.tokens,
            "completion_tokens": out,
            "total_tokens": asked.tokens + out,
        },
    }


def _question(messages: list[Any]) -> str:
    """The text of the last message that has any."""
    for message in reversed(messages):
        if not isinstance(message, Mapping):
            continue
        content = message.get("content", message.get("output"))
        if isinstance(content, str):
            return content
        if isinstance(content, list):
            texts = [
                part["text"] for part in content if isinstance(part, Mapping) and isinstance(part.get("text"), str)
            ]
            if texts:
                return " ".join(texts)
    return ""


def _tool(body: Mapping[str, Any], messages: list[Any]) -> tuple[str, str] | None:
    """Name and arguments of the tool to call: the one demanded, else the first; see `instance`."""
    choice, tools = body.get("tool_choice"), body.get("tools")
    if not isinstance(tools, list) or choice == "none":
        return None
    functions = [tool.get("function", tool) for tool in tools if isinstance(tool, Mapping)]
    named = [f for f in functions if isinstance(f, Mapping) and isinstance(f.get("name"), str)]
    if isinstance(choice, Mapping):
        function = choice.get("function", choice)
        demanded = function.get("name") if isinstance(function, Mapping) else None
        named = [f for f in named if f["name"] == demanded] or named
    if not named:
        return None
    arguments = instance(named[0].get("parameters") or {"type": "object"}, said=_question(messages))
    return named[0]["name"], orjson.dumps(arguments, option=orjson.OPT_NON_STR_KEYS).decode()


def _chat_schema(body: Mapping[str, Any]) -> object:
    wanted = body.get("response_format")
    if not isinstance(wanted, Mapping):
        return None
    if wanted.get("type") == "json_object":
        return {"type": "object", "properties": {"answer": {"type": "string"}}}
    inner = wanted.get("json_schema")
    return inner.get("schema") if isinstance(inner, Mapping) else None


def _response_schema(body: Mapping[str, Any]) -> object:
    text = body.get("text")
    wanted = text.get("format") if isinstance(text, Mapping) else None
    if not isinstance(wanted, Mapping):
        return None
    if wanted.get("type") == "json_object":
        return {"type": "object", "properties": {"answer": {"type": "string"}}}
    return wanted.get("schema")


def _structured(asked: Question, schema: object) -> str | None:
    if schema is None or asked.text is not None:
        return None
    made = instance(schema, f"stand-in {asked.digest[:6]}")
    return orjson.dumps(made, option=orjson.OPT_NON_STR_KEYS).decode()
