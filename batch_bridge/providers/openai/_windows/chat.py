"""A chat completion asked of the Responses API: its body there, and the answer back. Pure.

Only what loses nothing is converted; the rest is refused by name.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from batch_bridge._core.models import JSON
from batch_bridge.providers._shared.item import refuse

_SAME: Final = frozenset(
    {
        "model",
        "temperature",
        "top_p",
        "metadata",
        "user",
        "parallel_tool_calls",
        "prompt_cache_key",
        "prompt_cache_retention",
        "safety_identifier",
        "store",
        "service_tier",
        "background_options",
    }
)
_NEUTRAL: Final[Mapping[str, JSON]] = {
    "n": 1,
    "frequency_penalty": 0,
    "presence_penalty": 0,
    "logprobs": False,
    "stream": False,
    "modalities": ["text"],
}
"""Fields that the Responses API lacks, with the value that asks for nothing."""
_LIMITS: Final = ("max_completion_tokens", "max_tokens")
_LEAST_OUTPUT: Final = 16
"""Source: OpenAI API reference, "Create a model response", `max_output_tokens`."""
_ADVICE: Final = 'leave it out, ask the Responses API yourself ("input" in place of "messages"), or use another lane'
_OF_MESSAGES: Final = frozenset({"role", "content", "tool_calls", "tool_call_id"})


def to_response(body: Mapping[str, JSON]) -> dict[str, JSON]:
    """Return a chat completion's body as one of the Responses API.

    Raises:
        RequestRefused: That would lose something; names it.
    """
    made: dict[str, Any] = {}
    for name, value in body.items():
        if value is None or (name in _NEUTRAL and value == _NEUTRAL[name]):
            continue
        if name in _SAME:
            made[name] = value
        else:
            _field(made, name, value)
    return made


def _field(made: dict[str, Any], name: str, value: Any) -> None:
    match name:
        case "messages":
            made["input"] = [item for message in value for item in _message(message)]
        case "max_completion_tokens" | "max_tokens":
            if value < _LEAST_OUTPUT:
                refuse(f'"{name}" is {value}, and the Responses API takes {_LEAST_OUTPUT} or more', _ADVICE)
            made["max_output_tokens"] = min(value, made.get("max_output_tokens", value))
        case "tools":
            made["tools"] = [_tool(tool) for tool in value]
        case "tool_choice":
            made["tool_choice"] = _tool_choice(value)
        case "response_format":
            if (form := _format(value)) is not None:
                made.setdefault("text", {})["format"] = form
        case "reasoning_effort":
            made["reasoning"] = {"effort": value}
        case "verbosity":
            made.setdefault("text", {})["verbosity"] = value
        case _:
            _no(f'its body has "{name}"')


def _no(cause: str) -> Any:
    refuse(f"{cause}, which a window cannot keep, as the Responses API has no such thing", _ADVICE)


def _tool(tool: Any) -> dict[str, Any]:
    if tool.get("type") != "function":
        _no(f"a tool of it is of type {tool.get('type')!r}")
    function = tool["function"]
    return {
        "type": "function",
        "strict": False,
        **{name: value for name, value in function.items() if value is not None},
    }


def _tool_choice(choice: Any) -> Any:
    if isinstance(choice, str):
        return choice
    if choice.get("type") != "function":
        _no(f'its "tool_choice" is of type {choice.get("type")!r}')
    return {"type": "function", "name": choice["function"]["name"]}


def _format(form: Any) -> dict[str, Any] | None:
    match form:
        case {"type": "text"}:
            return None
        case {"type": "json_object"}:
            return {"type": "json_object"}
        case {"type": "json_schema", "json_schema": dict(schema)}:
            return {"type": "json_schema", **schema}
        case _:
            return _no('its "response_format" is of an unknown type')  # type: ignore[no-any-return]


def _message(message: Any) -> Iterator[dict[str, Any]]:
    role, content = message.get("role"), message.get("content")
    for name, value in message.items():
        if name not in _OF_MESSAGES and value not in (None, [], ""):
            _no(f'a message of it has "{name}"')
    match role:
        case "system" | "developer" | "user":
            yield {"type": "message", "role": role, "content": _content(content)}
        case "assistant":
            if content:
                yield {"type": "message", "role": "assistant", "content": _text(content)}
            for call in message.get("tool_calls") or ():
                if call.get("type") != "function":
                    _no(f"a call of a tool in it is of type {call.get('type')!r}")
                function = call["function"]
                yield {
                    "type": "function_call",
                    "call_id": call["id"],
                    "name": function["name"],
                    "arguments": function["arguments"],
                }
        case "tool":
            yield {"type": "function_call_output", "call_id": message["tool_call_id"], "output": _text(content)}
        case _:
            _no(f"a message of it has the role {role!r}")


def _content(content: Any) -> Any:
    if isinstance(content, str):
        return content
    return [_part(part) for part in content or ()]


def _part(part: Any) -> dict[str, Any]:
    match part:
        case {"type": "text", "text": str(text)}:
            return {"type": "input_text", "text": text}
        case {"type": "image_url", "image_url": {"url": str(url), **rest}}:
            return {"type": "input_image", "image_url": url, "detail": rest.get("detail", "auto")}
        case {"type": "file", "file": dict(file)}:
            return {"type": "input_file", **file}
        case _:
            kind = part.get("type") if isinstance(part, dict) else type(part).__name__
            return _no(f"a part of a message in it is of type {kind!r}")  # type: ignore[no-any-return]


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    texts = [
        part.get("text") if part.get("type") == "text" else _no(f"an answer in it holds {part.get('type')!r}")
        for part in content or ()
    ]
    return "".join(map(str, texts))


def to_completion(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a response as the chat completion that the same model would give.

    Raises:
        LookupError, TypeError: It is no response.
    """
    texts: list[str] = []
    refusals: list[str] = []
    calls: list[dict[str, Any]] = []
    for item in body["output"]:
        match item:
            case {"type": "message", "content": list(parts)}:
                texts += [part["text"] for part in parts if part["type"] == "output_text"]
                refusals += [part["refusal"] for part in parts if part["type"] == "refusal"]
            case {"type": "function_call"}:
                function = {"name": item["name"], "arguments": item["arguments"]}
                calls.append({"id": item["call_id"], "type": "function", "function": function})
    message: dict[str, Any] = {
        "role": "assistant",
        "content": "".join(texts) if texts else None,
        "refusal": "".join(refusals) if refusals else None,
        "annotations": [],
    }
    if calls:
        message["tool_calls"] = calls
    return {
        "id": body["id"],
        "object": "chat.completion",
        "created": int(body.get("created_at") or 0),
        "model": body.get("model"),
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(body, calls)}],
        "usage": _usage(body.get("usage") or {}),
        "service_tier": body.get("service_tier"),
    }


def _finish(body: Mapping[str, Any], calls: list[dict[str, Any]]) -> str:
    if body.get("status") == "incomplete":
        reason = (body.get("incomplete_details") or {}).get("reason")
        return "content_filter" if reason == "content_filter" else "length"
    return "tool_calls" if calls else "stop"


def _usage(usage: Mapping[str, Any]) -> dict[str, Any]:
    given, made = usage.get("input_tokens", 0), usage.get("output_tokens", 0)
    return {
        "prompt_tokens": given,
        "completion_tokens": made,
        "total_tokens": usage.get("total_tokens", given + made),
        "prompt_tokens_details": usage.get("input_tokens_details") or {},
        "completion_tokens_details": usage.get("output_tokens_details") or {},
    }
