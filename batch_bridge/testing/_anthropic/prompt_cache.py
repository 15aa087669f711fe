"""The prompt cache: what requests have written, and others read.

What a batch writes can be read once the batch has ended, by later ones: so a batch never reads what it has written
itself. A call in realtime reads and writes at once. An entry lives for its `ttl`, again with each time that it is read.
A server that is started again has none.

Source: platform.claude.com/docs/en/build-with-claude/prompt-caching.
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import Any, Final, TypeAlias

from batch_bridge.testing._answers.answer import Answer, AnswerRequest
from batch_bridge.testing._answers.asked import token_count

Key: TypeAlias = tuple[str, str]
"""Whose it is, and its digest."""
_SECONDS: Final = {"5m": 300.0, "1h": 3600.0}


class PromptCache:
    """What is in the cache, and what batches that have not ended have written."""

    def __init__(self) -> None:
        self._entries: dict[Key, float] = {}
        self._written: dict[str, dict[Key, float]] = {}

    def charge(
        self, requests: Sequence[AnswerRequest], answers: Sequence[Answer], *, tenant: str, batch: str = ""
    ) -> list[Answer]:
        """The answers, whose usage tells what was read and written.

        Args:
            requests: What was asked.
            answers: What is answered.
            tenant: Whose cache it is.
            batch: What they belong to; empty for a call in realtime.
        """
        return [self._charge(*each, tenant, batch) for each in zip(requests, answers, strict=True)]

    def ended(self, batch: str) -> None:
        """Let others read what a batch has written."""
        now = time.time()
        self._entries = {key: until for key, until in self._entries.items() if until > now}
        self._entries |= {key: now + lasts for key, lasts in self._written.pop(batch, {}).items()}

    def _charge(self, request: AnswerRequest, answer: Answer, tenant: str, batch: str) -> Answer:
        usage = answer.body.get("usage") if answer.ok and isinstance(answer.body, Mapping) else None
        marked = _marked(request.body) if isinstance(usage, Mapping) else None
        if marked is None or not isinstance(usage, Mapping) or not isinstance(usage.get("input_tokens"), int):
            return answer
        digest, tokens, ttl = marked
        key, now, lasts = (tenant, digest), time.time(), _SECONDS[ttl]
        reads = self._entries.get(key, 0.0) > now
        if reads or not batch:
            self._entries[key] = now + lasts
        else:
            self._written.setdefault(batch, {})[key] = lasts
        tokens = min(tokens, usage["input_tokens"] - 1)
        written = 0 if reads else tokens
        told = {
            "input_tokens": usage["input_tokens"] - tokens,
            "cache_creation_input_tokens": written,
            "cache_read_input_tokens": tokens - written,
            "cache_creation": {
                "ephemeral_5m_input_tokens": written if ttl == "5m" else 0,
                "ephemeral_1h_input_tokens": written if ttl == "1h" else 0,
            },
        }
        return replace(answer, body={**answer.body, "usage": {**usage, **told}})


def _marked(body: Mapping[str, Any]) -> tuple[str, int, str] | None:
    """Digest, tokens and ttl of what stands up to the last mark of a body; `None` if there is none."""
    parts = list(_parts(body))
    places = [place for place, part in enumerate(parts) if isinstance(_field(part, "cache_control"), Mapping)]
    if not places:
        return None
    ttl = parts[places[-1]]["cache_control"].get("ttl")
    plain = [
        {name: value for name, value in part.items() if name != "cache_control"} if isinstance(part, Mapping) else part
        for part in parts[: places[-1] + 1]
    ]
    text = json.dumps([body.get("model"), plain], sort_keys=True)
    known = isinstance(ttl, str) and ttl in _SECONDS
    return blake2b(text.encode(), digest_size=16).hexdigest(), token_count(text), ttl if known else "5m"


def _parts(body: Mapping[str, Any]) -> Iterator[Any]:
    for name in ("tools", "system"):
        yield name
        yield from body[name] if isinstance(body.get(name), list) else [body.get(name)]
    for message in body["messages"] if isinstance(body.get("messages"), list) else []:
        content = _field(message, "content")
        yield _field(message, "role")
        yield from content if isinstance(content, list) else [content]


def _field(part: object, name: str) -> Any:
    return part.get(name) if isinstance(part, Mapping) else None
