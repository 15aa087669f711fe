"""Stand-in answers in Gemini's shape: text, calls of tools, JSON, embeddings."""

import math
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import orjson

from batch_bridge.testing._answers.answer import Answer, refused
from batch_bridge.testing._answers.asked import BYTES_PER_TOKEN, Question, token_count
from batch_bridge.testing._answers.instance import instance
from batch_bridge.testing._answers.stand_in_other import unit_vector
from batch_bridge.testing._gemini.names import EMBED, EMBED_MANY, GENERATE, method_in, model_in

DIMENSIONS = 3_072
MAX_DIMENSIONS = 8_192
MAX_CANDIDATES = 8


def answer_gemini(url: str, body: dict[str, Any], text: str | None) -> Answer:
    """Answer a request to a model of Gemini's, deterministically; `text` in place of the stand-in's."""
    method = method_in(url)
    if method == EMBED_MANY:
        many = field(body, "requests")
        given = [each for each in many if isinstance(each, dict)] if isinstance(many, list) else []
        return Answer(200, {"embeddings": [_embedding(url, each) for each in given]})
    if method not in (GENERATE, EMBED):
        return refused(404, f"The method {method!r} is not one of this server's.")
    wanted = "contents" if method == GENERATE else "content"
    if not body.get(wanted):
        return refused(400, f"* GenerateContentRequest.{wanted}: {wanted} is not specified", param=wanted)
    if method == EMBED:
        return Answer(200, {"embedding": _embedding(url, body)})
    raw = orjson.dumps([url, body], option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
    named = {**body, "model": model_in(url)}
    return Answer(200, _content(Question(named, sha256(raw).hexdigest(), math.ceil(len(raw) / BYTES_PER_TOKEN), text)))


def field(data: object, name: str) -> Any:
    """A field in either of the two spellings that the API takes: `generationConfig`, `generation_config`."""
    if not isinstance(data, Mapping):
        return None
    if name in data:
        return data[name]
    return data.get("".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name))


def _content(asked: Question) -> dict[str, Any]:
    body = asked.body
    config = field(body, "generationConfig")
    contents = body["contents"] if isinstance(body["contents"], list) else [body["contents"]]
    call = _tool(body, contents)
    if call is not None and asked.text is None:
        part: dict[str, Any] = {"functionCall": {"id": f"call_{asked.digest[:24]}", **call}}
        said = orjson.dumps(call["args"], option=orjson.OPT_NON_STR_KEYS).decode()
    else:
        said = _structured(asked, config) or asked.say(_question(contents))
        part = {"text": said}
    count = field(config, "candidateCount")
    count = min(count, MAX_CANDIDATES) if isinstance(count, int) and count > 0 else 1
    out = token_count(said) * count
    candidate = {"content": {"parts": [part], "role": "model"}, "finishReason": "STOP"}
    return {
        "candidates": [{**candidate, "index": index} for index in range(count)],
        "usageMetadata": {
            "promptTokenCount": asked.tokens,
            "candidatesTokenCount": out,
            "totalTokenCount": asked.tokens + out,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": asked.tokens}],
        },
        "modelVersion": asked.model,
        "responseId": asked.digest[:22],
    }


def _question(contents: list[Any]) -> str:
    """The text of the last content that has any."""
    for content in reversed(contents):
        if isinstance(content, str):
            return content
        texts = [
            str(each["text"])
            for each in field(content, "parts") or ()
            if isinstance(each, Mapping) and isinstance(each.get("text"), str)
        ]
        if texts:
            return " ".join(texts)
    return ""


def _tool(body: Mapping[str, Any], contents: list[Any]) -> dict[str, Any] | None:
    """Name and arguments of the tool to call: one that is allowed, when the user spoke last."""
    last = contents[-1] if contents else None
    parts = [each for each in field(last, "parts") or () if isinstance(each, Mapping)]
    if field(last, "role") == "model" or any(field(each, "functionResponse") is not None for each in parts):
        return None
    choice = field(field(body, "toolConfig"), "functionCallingConfig")
    allowed = field(choice, "allowedFunctionNames")
    given = field(body, "tools")
    tools = [
        each
        for tool in (given if isinstance(given, list) else ())
        for each in field(tool, "functionDeclarations") or ()
        if isinstance(each, Mapping) and isinstance(each.get("name"), str)
    ]
    if isinstance(allowed, list) and allowed:
        tools = [each for each in tools if each["name"] in allowed] or tools
    if not tools or field(choice, "mode") in ("NONE", "none"):
        return None
    schema = field(tools[0], "parametersJsonSchema") or _plain(tools[0].get("parameters")) or {"type": "object"}
    return {"name": tools[0]["name"], "args": instance(schema, said=_question(contents))}


def _structured(asked: Question, config: object) -> str | None:
    if asked.text is not None or field(config, "responseMimeType") != "application/json":
        return None
    schema = field(config, "responseJsonSchema") or _plain(field(config, "responseSchema"))
    schema = schema or {"type": "object", "properties": {"answer": {"type": "string"}}}
    return orjson.dumps(instance(schema, f"stand-in {asked.digest[:6]}"), option=orjson.OPT_NON_STR_KEYS).decode()


def _plain(schema: object) -> Any:
    """A schema of Gemini's, whose types are upper-case, as a JSON schema."""
    match schema:
        case Mapping():
            return {
                name: str(each).lower() if name == "type" and isinstance(each, str) else _plain(each)
                for name, each in schema.items()
            }
        case list():
            return [_plain(each) for each in schema]
        case _:
            return schema


def _embedding(url: str, body: Mapping[str, Any]) -> dict[str, Any]:
    size = field(body, "outputDimensionality")
    size = min(size, MAX_DIMENSIONS) if isinstance(size, int) and size > 0 else DIMENSIONS
    return {"values": unit_vector(orjson.dumps([model_in(url), field(body, "content")]), size)}
