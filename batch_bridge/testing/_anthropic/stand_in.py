"""The stand-in's answers as Anthropic's Messages API gives them."""

from collections.abc import Mapping
from typing import Any

import orjson

from batch_bridge.testing._answers.asked import Question, token_count
from batch_bridge.testing._answers.instance import instance


def message(asked: Question) -> dict[str, Any]:
    """A message: a call of the first tool after the user spoke, else JSON that fits the schema, else text."""
    body = asked.body
    messages = body["messages"] if isinstance(body["messages"], list) else []
    call = None if asked.text is not None else _tool(body, messages)
    if call is not None:
        block = {"type": "tool_use", "id": f"toolu_{asked.digest[:24]}", **call}
        said, stop = orjson.dumps(call["input"], option=orjson.OPT_NON_STR_KEYS).decode(), "tool_use"
    else:
        said, stop = _structured(asked) or asked.say(_question(messages)), "end_turn"
        block = {"type": "text", "text": said, "citations": None}
    return {
        "id": f"msg_{asked.digest[:24]}",
        "type": "message",
        "role": "assistant",
        "model": asked.model,
        "content": [block],
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": {
            "input_tokens": asked.tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
            "output_tokens": token_count(said),
            "server_tool_use": None,
            "service_tier": "standard",
        },
    }


def _question(messages: list[Any]) -> str:
    """The text of the last message that has any; a tool's result is text, too."""
    for each in reversed(messages):
        text = _text(each.get("content")) if isinstance(each, Mapping) else ""
        if text:
            return text
    return ""


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    blocks = [block for block in content if isinstance(block, Mapping)]
    texts = [block["text"] if isinstance(block.get("text"), str) else _text(block.get("content")) for block in blocks]
    return " ".join(filter(None, texts))


def _tool(body: Mapping[str, Any], messages: list[Any]) -> dict[str, Any] | None:
    """Name and input of the tool to call: the one demanded, else the first, when the user spoke last."""
    tools = body.get("tools")
    choice = body.get("tool_choice")
    choice = choice if isinstance(choice, Mapping) else {}
    if not isinstance(tools, list) or choice.get("type") == "none" or not _user_spoke(messages):
        return None
    own = [tool for tool in tools if isinstance(tool, Mapping) and isinstance(tool.get("input_schema"), Mapping)]
    own = [tool for tool in own if isinstance(tool.get("name"), str)]
    demanded = choice.get("name") if choice.get("type") == "tool" else None
    own = [tool for tool in own if tool["name"] == demanded] or own
    if not own:
        return None
    return {"name": own[0]["name"], "input": instance(own[0]["input_schema"], said=_question(messages))}


def _user_spoke(messages: list[Any]) -> bool:
    last = messages[-1] if messages else None
    if not isinstance(last, Mapping) or last.get("role") != "user":
        return False
    content = last.get("content")
    blocks = content if isinstance(content, list) else []
    return not any(isinstance(block, Mapping) and block.get("type") == "tool_result" for block in blocks)


def _structured(asked: Question) -> str | None:
    config = asked.body.get("output_config")
    wanted = config.get("format") if isinstance(config, Mapping) else asked.body.get("output_format")
    if asked.text is not None or not isinstance(wanted, Mapping) or wanted.get("schema") is None:
        return None
    made = instance(wanted["schema"], f"stand-in {asked.digest[:6]}")
    return orjson.dumps(made, option=orjson.OPT_NON_STR_KEYS).decode()
