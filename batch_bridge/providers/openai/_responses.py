"""LangChain messages to and from the Responses API. Pure."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from langchain_core.messages import AIMessage, BaseMessage, InvalidToolCall, ToolCall

from batch_bridge._core.json.messages import TAG
from batch_bridge._core.models import JSON
from batch_bridge.providers.openai._chat import read_message, to_dicts
from batch_bridge.providers.openai._usage import usage_metadata

_METADATA: Final = (
    "created_at",
    "id",
    "incomplete_details",
    "metadata",
    "object",
    "status",
    "user",
    "model",
    "service_tier",
)
_OTHERS: Final = frozenset({"tool_call", "tool_use", "thinking", "reasoning_content"})
"""Blocks that are said in another way, or are another provider's."""
_SENT_BACK: Final = ("id", "phase")
"""What a text keeps of the message that it was in."""
_OWN: Final = frozenset({"summary", "encrypted_content"})
"""What this API's own reasoning holds, and LangChain's standard block does not."""


def to_input(items: Sequence[JSON]) -> list[JSON]:
    """Return a conversation as the API's `input`; messages that are not LangChain's stay as they are.

    Raises:
        ValueError: LangChain cannot say a message in OpenAI's terms.
    """
    converted: list[JSON] = []
    for item in items:
        if not isinstance(item, dict) or TAG not in item:
            converted.append(item)
            continue
        message = read_message(item)
        converted += _of_model(message) if isinstance(message, AIMessage) else _of_others(message)
    return converted


def to_message(body: Mapping[str, Any]) -> AIMessage:
    """Return a response as the message that LangChain's own model would give.

    Raises:
        LookupError, TypeError, ValueError: It is no response.
    """
    content: list[str | dict[Any, Any]] = []
    calls: list[ToolCall] = []
    invalid: list[InvalidToolCall] = []
    refusals: list[str] = []
    for item in body["output"]:
        match item:
            case {"type": "message"}:
                for block in _blocks(item):
                    content.append(block)
                    if block["type"] == "refusal":
                        refusals.append(block["refusal"])
            case {"type": "function_call"}:
                content.append(_known(item))
                _call(item, calls, invalid)
            case {"type": "custom_tool_call"}:
                content.append(_known(item))
                arguments = {"__arg1": item["input"]}
                calls.append(ToolCall(name=item["name"], args=arguments, id=item["call_id"], type="tool_call"))
            case {"type": str()}:
                content.append(_known(item))
            case _:
                raise ValueError("an output item has no type")
    usage = body.get("usage")
    return AIMessage(
        content=content,
        id=body.get("id"),
        additional_kwargs={"refusal": "".join(refusals)} if refusals else {},
        tool_calls=calls,
        invalid_tool_calls=invalid,
        usage_metadata=usage_metadata(usage, body.get("service_tier")) if usage else None,
        response_metadata={
            **{name: body[name] for name in _METADATA if body.get(name) is not None},
            "model_provider": "openai",
            "model_name": body.get("model"),
        },
    )


def _of_others(message: BaseMessage) -> Iterator[JSON]:
    for each in to_dicts(message):
        content = each["content"]
        blocks = [_block(block) for block in content] if isinstance(content, list) else content
        if each["role"] == "tool":
            yield {"type": "function_call_output", "call_id": each["tool_call_id"], "output": blocks}
        else:
            yield {"type": "message", "role": each["role"], "content": blocks}


def _of_model(message: AIMessage) -> Iterator[JSON]:
    called: set[object] = set()
    if isinstance(message.content, str):
        if message.content:
            yield {"type": "message", "role": "assistant", "content": message.content}
    else:
        for item in _of_blocks(message.content):
            called.add(item.get("call_id"))
            yield item
    for call in message.tool_calls:
        if call["id"] not in called:
            yield _function_call(call["name"], json.dumps(call["args"], ensure_ascii=False), call["id"])
    for bad in message.invalid_tool_calls:
        if bad["id"] not in called:
            yield _function_call(bad["name"], bad["args"], bad["id"])


def _of_blocks(blocks: Sequence[str | dict[Any, Any]]) -> Iterator[dict[str, JSON]]:
    """Texts of one message go back as one, under its id; what else the API made goes back as it was."""
    last: dict[str, Any] = {}
    for block in blocks:
        match block:
            case str():
                part: JSON = {"type": "output_text", "text": block, "annotations": []}
            case {"type": "text" | "output_text", "text": str(text)}:
                part = {"type": "output_text", "text": text, "annotations": block.get("annotations") or []}
            case {"type": "refusal", "refusal": str(refusal)}:
                part = {"type": "refusal", "refusal": refusal}
            case {"type": str(kind)} if kind not in _OTHERS and (kind != "reasoning" or _OWN & block.keys()):
                if last:
                    yield last
                last = {}
                yield {name: value for name, value in block.items() if name != "index"}
                continue
            case _:
                continue
        own = _own(block) if isinstance(block, dict) else {}
        if last and own == {name: last[name] for name in _SENT_BACK if name in last}:
            last["content"].append(part)
            continue
        if last:
            yield last
        last = {"type": "message", "role": "assistant", "content": [part], **own}
    if last:
        yield last


def _own(block: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a text says of the message that it was in; an id that LangChain made is left out."""
    own = {name: block[name] for name in _SENT_BACK if block.get(name) is not None}
    if not str(own.get("id", "")).startswith("msg_"):
        own.pop("id", None)
    return own


def _function_call(name: str | None, arguments: str | None, call_id: str | None) -> dict[str, JSON]:
    return {"type": "function_call", "name": name, "arguments": arguments, "call_id": call_id}


def _block(block: dict[str, Any]) -> JSON:
    match block:
        case {"type": "text", "text": text}:
            return {"type": "input_text", "text": text}
        case {"type": "image_url", "image_url": {"url": url, "detail": detail}}:
            return {"type": "input_image", "image_url": url, "detail": detail}
        case {"type": "image_url", "image_url": {"url": url}}:
            return {"type": "input_image", "image_url": url}
        case {"type": "image_url", "image_url": url}:
            return {"type": "input_image", "image_url": url}
        case {"type": "file", "file": dict()}:
            return {"type": "input_file", **block["file"]}
        case _:
            return block


def _blocks(item: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for part in item["content"]:
        own = {name: item[name] for name in _SENT_BACK if item.get(name) is not None}
        if part["type"] == "output_text":
            yield {"type": "text", "text": part["text"], "annotations": part.get("annotations") or [], **own}
        elif part["type"] == "refusal":
            yield {"type": "refusal", "refusal": part["refusal"], **own}


def _call(item: Mapping[str, Any], calls: list[ToolCall], invalid: list[InvalidToolCall]) -> None:
    raw = item["arguments"]
    try:
        arguments = json.loads(raw, strict=False)
    except (ValueError, RecursionError) as error:
        arguments = None
        reason = str(error)
    else:
        reason = f"the arguments are not a JSON object: {raw}"
    if isinstance(arguments, dict):
        calls.append(ToolCall(name=item["name"], args=arguments, id=item["call_id"], type="tool_call"))
    else:
        invalid.append(
            InvalidToolCall(name=item["name"], args=raw, id=item["call_id"], error=reason, type="invalid_tool_call")
        )


def _known(item: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in item.items() if value is not None}
