"""A response as Gemini streams it. Pure.

Source: ai.google.dev/api/generate-content, "models.streamGenerateContent".
"""

from collections.abc import Iterator, Mapping
from typing import Any

from batch_bridge.testing._server.event_stream import pieces


def chunks(answer: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The chunks of a response, each a response with a part of it; the last has the reasons of the end, and the usage.

    Tokens are counted up to each chunk: those of the prompt are in all of them.
    """
    shared = {name: value for name, value in answer.items() if name not in ("candidates", "usageMetadata")}
    usage = answer.get("usageMetadata") or {}
    begun = {name: value for name, value in usage.items() if name.startswith("prompt")}
    begun["totalTokenCount"] = begun.get("promptTokenCount", 0)
    given = answer.get("candidates") or []
    for candidate in given:
        content = candidate.get("content") or {}
        for part in content.get("parts") or ():
            for piece in _cut(part):
                told = {"content": {**content, "parts": [piece]}, "index": candidate.get("index", 0)}
                yield {"candidates": [told], "usageMetadata": begun, **shared}
    ends = [{**candidate, "content": {"parts": [{"text": ""}], "role": "model"}} for candidate in given]
    yield {**({"candidates": ends} if given else {}), "usageMetadata": usage, **shared}


def _cut(part: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    if not isinstance(part.get("text"), str) or not part["text"]:
        yield part
        return
    for piece in pieces(part["text"]):
        yield {**part, "text": piece}
