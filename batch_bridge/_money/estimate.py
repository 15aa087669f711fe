"""What a request may cost, before it is sent: its most for a budget, and what is likely for a quote. Pure."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Literal, TypeAlias

import orjson

from batch_bridge._core.models import Ask
from batch_bridge._money.prices import Lane, Prices
from batch_bridge._money.tokens import Tokens

Counted: TypeAlias = Literal["tiktoken", "bytes"]

BYTES_PER_TOKEN: Final = 4
"""Bytes of a text that are likely to be one token.

Source: OpenAI help center, "What are tokens and how to count them?", https://help.openai.com/en/articles/4936856.
"""
_LIMITS: Final = ("max_completion_tokens", "max_output_tokens", "max_tokens", "maxOutputTokens")
"""How requests name the most that may be answered."""
_OVERHEAD: Final = 64
"""Tokens that a chat's form adds at most to the texts in it, for each request."""
_PICTURE: Final = 20_000
"""Input tokens that a part of a request is taken to need at most which is no text: a picture, a file, a sound."""
_PARTS: Final = frozenset({"image_url", "input_image", "image", "document", "file", "input_file", "input_audio"})


def names_no_limit(ask: Ask) -> bool:
    """Return whether a request does not limit its output."""
    return ask.has_output and not _limits(ask.body)


def most(ask: Ask, assumed: int) -> Tokens:
    """Return what a request uses at most.

    Every token is a byte at least, so a body's bytes are the most input that its texts can be; other parts are taken to
    need `_PICTURE` tokens each. `assumed` are the output tokens of a request that does not limit them.
    """
    given = len(orjson.dumps(ask.body, default=str, option=orjson.OPT_NON_STR_KEYS)) + _OVERHEAD
    given += _parts(ask.body) * _PICTURE
    return Tokens(input=given, output=_output(ask, assumed))


def likely(ask: Ask, assumed: int) -> tuple[Tokens, Counted]:
    """Return what a request is likely to use, and how its input was counted. Its output is taken to be the most."""
    tokens, counted = ask.tokens, "tiktoken"
    if tokens is None:
        tokens, counted = -(-len(orjson.dumps(ask.body, default=str)) // BYTES_PER_TOKEN), "bytes"
    return Tokens(input=tokens, output=_output(ask, assumed)), counted  # type: ignore[return-value]


def worst(
    ask: Ask, prices: Prices, vendor: str | None, *, lanes: tuple[Lane, ...], assumed: int, now: datetime
) -> Decimal | None:
    """Return the most that a request may cost in any of the lanes it may take; `None` if no price is known."""
    tokens = most(ask, assumed)
    written = Tokens(tokens.input, tokens.output, cache_write_1h=tokens.input if _writes_cache(ask.body) else 0)
    tier = _tier(ask.body)
    costs: list[Decimal] = []
    for lane in lanes:
        charge = prices.charge(vendor, ask.model, written, lane=lane, tier=tier, at=now)
        if charge.paid is None:
            return None
        costs.append(charge.paid)
    return max(costs, default=None)


def _tier(body: Mapping[str, Any]) -> str:
    tier = body.get("service_tier")
    return tier if tier in ("priority", "fast") else ""  # flex may fall back to the standard price


def _writes_cache(body: Mapping[str, Any]) -> bool:
    """Whether a request asks for its input to be written into a cache, which costs more than reading it."""
    return b'"cache_control"' in orjson.dumps(body, default=str)


def _output(ask: Ask, assumed: int) -> int:
    if not ask.has_output:
        return 0
    choices = ask.body.get("n") or _config(ask.body).get("candidateCount")
    times = choices if isinstance(choices, int) and choices > 0 else 1
    return max(_limits(ask.body), default=assumed) * times


def _limits(body: Mapping[str, Any]) -> list[int]:
    given = [held.get(name) for held in (body, _config(body)) for name in _LIMITS]
    return [each for each in given if isinstance(each, int) and not isinstance(each, bool) and each > 0]


def _config(body: Mapping[str, Any]) -> Mapping[str, Any]:
    config = body.get("generationConfig") or body.get("generation_config")
    return config if isinstance(config, Mapping) else {}


def _parts(value: object) -> int:
    match value:
        case Mapping():
            own = value.get("type") in _PARTS or "inlineData" in value or "fileData" in value or "inline_data" in value
            return int(own) + sum(map(_parts, value.values()))
        case list():
            return sum(map(_parts, value))
        case _:
            return 0
