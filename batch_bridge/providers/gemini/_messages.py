"""Messages to contents of Gemini's API, and answers back to LangChain's. Pure."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from langchain_core.messages import AIMessage, BaseMessage, ToolMessage, convert_to_messages
from langchain_core.messages.ai import InputTokenDetails, OutputTokenDetails, UsageMetadata

from batch_bridge._core.json.messages import TAG, decode
from batch_bridge._core.models import JSON

SIGNATURES: Final = "__gemini_function_call_thought_signatures__"
"""Where LangChain's own model keeps the signatures of calls, by the calls' ids; a model may want them back."""

_MEDIA: Final = ("image", "audio", "video", "file")


def to_contents(items: Sequence[JSON]) -> tuple[list[JSON], list[JSON]]:
    """Return the parts of the system's messages, and the conversation without them.

    Contents that are Gemini's already (`{"role", "parts"}`) stay as they are. Results of tools that follow each other
    become one content, as the API wants it.

    Raises:
        ValueError, TypeError, LookupError: A message cannot be said in Gemini's terms.
    """
    system: list[JSON] = []
    contents: list[JSON] = []
    names: dict[str, str] = {}
    was_result = False
    for item in items:
        if isinstance(item, dict) and "parts" in item and TAG not in item:
            contents.append(item)
            was_result = False
            continue
        message = _read(item)
        if isinstance(message, AIMessage):
            names.update((call["id"], call["name"]) for call in message.tool_calls if call["id"])
        parts = [_result(message, names)] if isinstance(message, ToolMessage) else _parts(message)
        if message.type == "system":
            system += parts
            continue
        if isinstance(message, ToolMessage) and was_result:
            last: Any = contents[-1]
            last["parts"] += parts
        else:
            contents.append({"role": "model" if isinstance(message, AIMessage) else "user", "parts": parts})
        was_result = isinstance(message, ToolMessage)
    return system, contents


def _read(item: JSON) -> BaseMessage:
    if isinstance(item, dict) and TAG in item:
        message = decode(item)
        if not isinstance(message, BaseMessage):
            raise ValueError(f"what {TAG!r} holds is not a message")
        return message
    given: Any = item
    return convert_to_messages([given])[0]


def _parts(message: BaseMessage) -> list[JSON]:
    if isinstance(message.content, str) and not getattr(message, "tool_calls", None):
        return [{"text": message.content}]
    signatures = message.additional_kwargs.get(SIGNATURES) or {}
    parts: list[JSON] = [part for block in message.content_blocks if (part := _part(block, signatures)) is not None]
    return parts or [{"text": ""}]


def _part(block: Mapping[str, Any], signatures: Mapping[str, str]) -> JSON:
    """Return a block as a part; `None` for what another API has thought, which this one does not take."""
    kind = block["type"]
    extras = block.get("extras") or {}
    signature = extras.get("signature")
    if kind == "text":
        return _signed({"text": block["text"]}, signature)
    if kind == "reasoning":
        return _signed({"text": block.get("reasoning", ""), "thought": True}, signature) if signature else None
    if kind == "text-plain" and isinstance(block.get("text"), str):
        return {"text": block["text"]}
    if kind == "tool_call":
        call = {"name": block["name"], "args": block["args"]}
        return _signed({"functionCall": call}, signature or signatures.get(str(block["id"])))
    if kind in _MEDIA or kind == "text-plain":
        return _medium(block)
    raise ValueError(f"a block of type {kind!r} has no part")


def _medium(block: Mapping[str, Any]) -> JSON:
    mime = block.get("mime_type")
    if isinstance(block.get("base64"), str):
        return {"inlineData": {"mimeType": mime or "application/octet-stream", "data": block["base64"]}}
    uri = block.get("url") or block.get("file_id")
    if not isinstance(uri, str) or not uri:
        raise LookupError(f"a block of type {block['type']!r} has neither base64 nor url nor file_id")
    return {"fileData": {"fileUri": uri, **({"mimeType": mime} if mime else {})}}


def _signed(part: dict[str, JSON], signature: object) -> JSON:
    return {**part, "thoughtSignature": signature} if isinstance(signature, str) else part


def _result(message: ToolMessage, names: Mapping[str, str]) -> JSON:
    name = message.name or names.get(message.tool_call_id)
    if not name:
        raise ValueError(f"the result of tool call {message.tool_call_id!r} names no tool, and no call in sight does")
    return {"functionResponse": {"name": name, "response": _response(message)}}


def _response(message: ToolMessage) -> JSON:
    text = message.text
    try:
        read = json.loads(text)
    except ValueError:
        read = text
    said = "error" if message.status == "error" else "output"
    return read if isinstance(read, dict) and message.status != "error" else {said: read}


def to_message(body: Mapping[str, Any]) -> AIMessage:
    """Return an answer as the message that LangChain's own model would give; its first candidate.

    An answer without a candidate, such as one to a prompt that was blocked, is an empty message.

    Raises:
        LookupError, TypeError, ValueError: It is no answer of this API.
    """
    candidates = body.get("candidates") or ()
    if not candidates and not (body.get("promptFeedback") or body.get("usageMetadata")):
        raise ValueError("it has neither candidates nor promptFeedback")
    candidate: Mapping[str, Any] = candidates[0] if candidates else {}
    blocks: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    signatures: dict[str, str] = {}
    for index, part in enumerate((candidate.get("content") or {}).get("parts") or ()):
        signature = part.get("thoughtSignature")
        if call := part.get("functionCall"):
            call_id = call.get("id") or f"{body.get('responseId') or 'call'}-{index}"
            calls.append({"name": call["name"], "args": call.get("args") or {}, "id": call_id, "type": "tool_call"})
            if signature:
                signatures[call_id] = signature
        elif block := _block(part, signature):
            blocks.append(block)
    metadata = {
        "model_provider": "google_genai",
        "model_name": body.get("modelVersion"),
        "finish_reason": candidate.get("finishReason"),
        "safety_ratings": candidate.get("safetyRatings") or [],
    }
    if grounding := candidate.get("groundingMetadata"):
        metadata["grounding_metadata"] = grounding
    if feedback := body.get("promptFeedback"):
        metadata["prompt_feedback"] = feedback
    return AIMessage(
        content=_content(blocks),
        id=body.get("responseId"),
        additional_kwargs={SIGNATURES: signatures} if signatures else {},
        tool_calls=calls,
        usage_metadata=usage_metadata(body.get("usageMetadata")),
        response_metadata=metadata,
    )


def _content(blocks: list[dict[str, Any]]) -> Any:
    """Return text as a string, as long as nothing else stands beside it."""
    if all(block["type"] == "text" and "extras" not in block for block in blocks):
        return "".join(block["text"] for block in blocks)
    return blocks


def _block(part: Mapping[str, Any], signature: str | None) -> dict[str, Any] | None:
    signed = {"extras": {"signature": signature}} if signature else {}
    if part.get("thought"):
        return {"type": "thinking", "thinking": part.get("text", ""), **({"signature": signature} if signature else {})}
    if "text" in part:
        return {"type": "text", "text": part["text"], **signed}
    if data := part.get("inlineData"):
        url = f"data:{data['mimeType']};base64,{data['data']}"
        return {"type": "image_url", "image_url": {"url": url}, **signed}
    if code := part.get("executableCode"):
        return {"type": "executable_code", "executable_code": code.get("code"), "language": code.get("language")}
    if result := part.get("codeExecutionResult"):
        return {
            "type": "code_execution_result",
            "code_execution_result": result.get("output", ""),
            "outcome": 1 if result.get("outcome") == "OUTCOME_OK" else 2,
            "tool_call_id": "",
        }
    return None


def usage_metadata(usage: object) -> UsageMetadata | None:
    """Return what an answer cost; tokens that the model thought with are output, those of its tools input."""
    if not isinstance(usage, Mapping) or not usage:
        return None
    thoughts = count(usage, "thoughtsTokenCount")
    found = UsageMetadata(
        input_tokens=count(usage, "promptTokenCount") + count(usage, "toolUsePromptTokenCount"),
        output_tokens=count(usage, "candidatesTokenCount") + thoughts,
        total_tokens=count(usage, "totalTokenCount"),
        input_token_details=InputTokenDetails(cache_read=count(usage, "cachedContentTokenCount")),
    )
    if thoughts:
        found["output_token_details"] = OutputTokenDetails(reasoning=thoughts)
    return found


def count(usage: Mapping[str, Any], name: str) -> int:
    """Return one of the counts of a `usageMetadata`."""
    value = usage.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
