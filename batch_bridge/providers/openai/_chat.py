"""LangChain messages to and from the Chat Completions API. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    InvalidToolCall,
    ToolCall,
    convert_to_openai_messages,
)
from langchain_core.output_parsers.openai_tools import make_invalid_tool_call, parse_tool_call

from batch_bridge._core.json.messages import TAG, decode
from batch_bridge._core.models import JSON
from batch_bridge.providers.openai._usage import usage_metadata

_ROLES: Final = {"human": "user", "system": "system"}
_UNSENT_BLOCKS: Final = frozenset(
    {
        "thinking",
        "reasoning",
        "reasoning_content",
        "function_call",
        "custom_tool_call",
        "web_search_call",
        "file_search_call",
        "code_interpreter_call",
        "image_generation_call",
    }
)
"""Blocks of answers that other APIs gave, which this one does not take back."""


def to_messages(items: Sequence[JSON]) -> list[JSON]:
    """Return a conversation as the API takes it; messages that are not LangChain's stay as they are.

    Raises:
        ValueError: LangChain cannot say a message in OpenAI's terms.
    """
    converted: list[JSON] = []
    for item in items:
        if not isinstance(item, dict) or TAG not in item:
            converted.append(item)
        elif (plain := _plain(item[TAG])) is not None:
            converted.append(plain)
        else:
            converted += to_dicts(read_message(item))
    return converted


def read_message(item: JSON) -> BaseMessage:
    """Return a message that was encoded.

    Raises:
        ValueError: It was not.
    """
    message = decode(item)
    if not isinstance(message, BaseMessage):
        raise ValueError(f"what {TAG!r} holds is not a message")  # noqa: TRY004  # it is a wrong value
    return message


def to_dicts(message: BaseMessage) -> list[Any]:
    """Return one message in OpenAI's terms: more than one where it holds results of tools."""
    dicts = convert_to_openai_messages([message])
    if isinstance(message, AIMessage):
        own = dicts[0]
        if isinstance(own["content"], list):
            own["content"] = [each for each in own["content"] if each.get("type") not in _UNSENT_BLOCKS]
        calls = {each["id"]: each for each in own.get("tool_calls", ())}
        calls.update((each["id"], _invalid(each)) for each in message.invalid_tool_calls)
        if calls:
            own["tool_calls"] = [*calls.values()]
        if own.get("tool_calls"):
            own["content"] = own["content"] or None
    return dicts


def to_message(body: Mapping[str, Any]) -> AIMessage:
    """Return a chat completion as the message that LangChain's own model would give; its first choice.

    Raises:
        LookupError, TypeError, ValueError: It is no chat completion.
    """
    choice = body["choices"][0]
    given = choice["message"]
    calls: list[ToolCall] = []
    invalid: list[InvalidToolCall] = []
    for raw in given.get("tool_calls") or ():
        if raw.get("type") == "custom":
            calls.append(_custom(raw))
            continue
        try:
            parsed = parse_tool_call(raw, return_id=True)
        except Exception as error:  # noqa: BLE001  # the parser's own, for arguments that are no JSON
            invalid.append(make_invalid_tool_call(raw, str(error)))
        else:
            if parsed is not None:
                calls.append(ToolCall(name=parsed["name"], args=parsed["args"], id=parsed["id"], type="tool_call"))
    usage = body.get("usage")
    return AIMessage(
        content=given.get("content") or "",
        id=body.get("id"),
        name=given.get("name"),
        additional_kwargs={
            "refusal": given.get("refusal"),
            **{each: given[each] for each in ("audio", "function_call") if given.get(each)},
        },
        tool_calls=calls,
        invalid_tool_calls=invalid,
        usage_metadata=usage_metadata(usage, body.get("service_tier")) if usage else None,
        response_metadata={
            "token_usage": usage,
            "model_provider": "openai",
            "model_name": body.get("model"),
            "system_fingerprint": body.get("system_fingerprint"),
            "id": body.get("id"),
            **({"service_tier": body["service_tier"]} if body.get("service_tier") else {}),
            "finish_reason": choice.get("finish_reason"),
            "logprobs": choice.get("logprobs"),
        },
    )


def _plain(tagged: JSON) -> JSON:
    """Convert the commonest message, text and nothing else, without building message objects."""
    match tagged:
        case {"type": ("human" | "system") as kind, "data": {"content": str(content), **rest}}:
            if rest.get("name") or rest.get("additional_kwargs"):
                return None
            return {"role": _ROLES[kind], "content": content}
        case _:
            return None


def _invalid(call: InvalidToolCall) -> dict[str, Any]:
    return {
        "type": "function",
        "id": call["id"],
        "function": {"name": call["name"], "arguments": call["args"]},
    }


def _custom(raw: Mapping[str, Any]) -> ToolCall:
    custom = raw["custom"]
    return ToolCall(name=custom["name"], args={"__arg1": custom["input"]}, id=raw["id"], type="tool_call")
