"""LangChain messages to and from the Messages API. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, cast

from langchain_core.messages import AIMessage, BaseMessage, ChatMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.messages.ai import InputTokenDetails, OutputTokenDetails, UsageMetadata
from langchain_core.messages.tool import tool_call

from batch_bridge._core.json.messages import TAG, decode
from batch_bridge._core.models import JSON

_UNSENT: Final = frozenset({"tool_call", "invalid_tool_call", "tool_call_chunk", "reasoning", "function_call"})
"""Blocks of answers that have another form in requests, or that other APIs gave and this one refuses."""
_KEPT: Final = ("cache_control", "citations", "title", "context")
_LIVES: Final = ("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens")


def to_conversation(given: Sequence[JSON]) -> tuple[list[JSON], list[JSON]]:
    """Return the blocks of the leading system messages, and the other messages as the API takes them.

    Messages that are not LangChain's stay as they are. What users and tools say in a row becomes one message: the
    results of all tools that were called together must stand in one.

    Raises:
        ValueError: A message cannot be said in the API's terms.
    """
    system: list[JSON] = []
    conversation: list[JSON] = []
    joins = False
    for each in given:
        is_ours = isinstance(each, dict) and TAG in each
        turn = _turn(_read(each)) if is_ours else cast("dict[str, JSON]", each)
        if turn.get("role") == "system" and not conversation:
            system += _blocks(turn.get("content"))
        elif joins and is_ours and turn["role"] == "user":
            last = cast("dict[str, JSON]", conversation[-1])
            conversation[-1] = {"role": "user", "content": [*_blocks(last["content"]), *_blocks(turn["content"])]}
        else:
            conversation.append(turn)
        joins = is_ours and turn.get("role") == "user"
    return system, conversation


def joined(blocks: list[JSON]) -> JSON:
    """Return blocks as a plain string where there is nothing but one text."""
    match blocks:
        case [{"type": "text", "text": str(text), **rest}] if not rest:
            return text
        case _:
            return blocks


def to_message(body: Mapping[str, Any]) -> AIMessage:
    """Return an answer of the API as the message that LangChain's own model would give.

    Raises:
        LookupError, TypeError, ValueError: It is no message.
    """
    blocks = [{name: value for name, value in block.items() if value is not None} for block in body["content"]]
    content: Any = blocks
    if len(blocks) == 1 and blocks[0]["type"] == "text" and not blocks[0].get("citations"):
        content = blocks[0]["text"]
    calls = [each for each in blocks if each["type"] == "tool_use"]
    told = {name: value for name, value in body.items() if name not in ("content", "role", "type")}
    return AIMessage(
        content=content,
        id=body.get("id"),
        tool_calls=[tool_call(name=each["name"], args=each["input"], id=each["id"]) for each in calls],
        usage_metadata=usage_metadata(body["usage"]) if body.get("usage") else None,
        response_metadata={**told, "model_name": body.get("model"), "model_provider": "anthropic"},
    )


def usage_metadata(usage: Mapping[str, Any]) -> UsageMetadata:
    """Return what an answer cost, as LangChain counts: tokens of the cache are input, too."""
    read, made = _count(usage, "cache_read_input_tokens"), _count(usage, "cache_creation_input_tokens")
    given = input_tokens(usage)
    out = _count(usage, "output_tokens")
    lives = usage.get("cache_creation")
    by_life = {name: _count(lives, name) for name in _LIVES} if isinstance(lives, Mapping) else {}
    metadata = UsageMetadata(
        input_tokens=given,
        output_tokens=out,
        total_tokens=given + out,
        input_token_details=cast(
            "InputTokenDetails",
            {"cache_read": read, "cache_creation": 0 if any(by_life.values()) else made, **by_life},
        ),
    )
    details = usage.get("output_tokens_details")
    if isinstance(details, Mapping) and isinstance(details.get("thinking_tokens"), int):
        metadata["output_token_details"] = OutputTokenDetails(reasoning=details["thinking_tokens"])
    return metadata


def input_tokens(usage: Mapping[str, Any]) -> int:
    """Return all tokens that went in: the API's own count leaves out what the cache has read or taken in."""
    names = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    return sum(_count(usage, name) for name in names)


def _read(item: JSON) -> BaseMessage:
    message = decode(item)
    if not isinstance(message, BaseMessage):
        raise ValueError(f"what {TAG!r} holds is not a message")  # noqa: TRY004  # it is a wrong value
    return message


def _turn(message: BaseMessage) -> dict[str, JSON]:
    match message:
        case SystemMessage():
            return {"role": "system", "content": _content(message)}
        case AIMessage():
            return {"role": "assistant", "content": _said(message)}
        case ToolMessage():
            result: dict[str, JSON] = {"type": "tool_result", "tool_use_id": message.tool_call_id}
            result |= {"content": _content(message), "is_error": message.status == "error"}
            return {"role": "user", "content": [result]}
        case HumanMessage():
            return {"role": "user", "content": _content(message)}
        case ChatMessage(role="user" | "assistant" as role):
            return {"role": role, "content": _content(message)}
    raise ValueError(f"a {type(message).__name__} has no place in a conversation with Anthropic's models")


def _said(message: AIMessage) -> JSON:
    """Return what the model said; its calls of tools come last, and once."""
    calls: list[JSON] = [
        {"type": "tool_use", "id": each["id"] or "", "name": each["name"], "input": each["args"]}
        for each in message.tool_calls
    ]
    if not calls and isinstance(message.content, str):
        return message.content
    known = {each["id"] for each in message.tool_calls}
    blocks = [each for each in _blocks(_content(message)) if not _is_call(each, known)]
    return [*blocks, *calls]


def _is_call(block: JSON, known: Iterable[str | None]) -> bool:
    return isinstance(block, dict) and block.get("type") == "tool_use" and block.get("id") in {*known}


def _content(message: BaseMessage) -> JSON:
    if isinstance(message.content, str):
        return message.content
    blocks = ({"type": "text", "text": each} if isinstance(each, str) else each for each in message.content)
    return [_block(each) for each in blocks if each.get("type") not in _UNSENT and not _is_empty(each)]


def _blocks(content: JSON) -> list[JSON]:
    if isinstance(content, list):
        return content
    return [{"type": "text", "text": content}] if content else []


def _is_empty(block: Mapping[str, Any]) -> bool:
    return block.get("type") == "text" and not str(block.get("text", "")).strip()


def _block(block: Mapping[str, Any]) -> JSON:
    """Return a block as the API takes it; those that are its own already stay as they are, but for stream marks."""
    match block.get("type"):
        case "image_url":
            url = block["image_url"]
            made = {"type": "image", "source": _source({"url": url["url"] if isinstance(url, Mapping) else url})}
        case "image" if "source" not in block:
            made = {"type": "image", "source": _source(block)}
        case "file" | "text-plain":
            made = {"type": "document", "source": _source(block)}
        case _:
            return {name: value for name, value in block.items() if name != "index"}
    extras = block.get("extras") or block.get("metadata") or {}
    return {**made, **{name: each[name] for name in _KEPT for each in (extras, block) if name in each}}


def _source(block: Mapping[str, Any]) -> JSON:
    """Return the source of an image or a document, from any of LangChain's forms."""
    mime = block.get("mime_type")
    if url := block.get("url"):
        head, comma, data = url.partition(",")
        if not url.startswith("data:"):
            return {"type": "url", "url": url}
        if not comma or not head.endswith(";base64"):
            raise ValueError("a data: URL is not in base64")
        return {"type": "base64", "media_type": head.removeprefix("data:").removesuffix(";base64"), "data": data}
    if data := block.get("base64") or (block.get("source_type") == "base64" and block.get("data")):
        return {"type": "base64", "media_type": mime or "application/pdf", "data": data}
    if text := block.get("text"):
        return {"type": "text", "media_type": mime or "text/plain", "data": text}
    if file_id := block.get("file_id") or (block.get("source_type") == "id" and block.get("id")):
        return {"type": "file", "file_id": file_id}
    raise ValueError(f"a block of type {block.get('type')!r} has neither url, base64, text nor file_id")


def _count(usage: Mapping[str, Any], name: str) -> int:
    value = usage.get(name)
    return value if isinstance(value, int) else 0
