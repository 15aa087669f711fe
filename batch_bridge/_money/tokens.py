"""The tokens of one answer, as its provider reports them. Pure.

The receipt is made of these, and of nothing that was estimated: an answer that reports no usage has no tokens here, and
its price is unknown.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

_NOT_THERE: Final = ()
_OPENAI: Final = ("prompt_tokens", "input_tokens", "total_tokens")
"""Fields of a usage that speaks like OpenAI's."""
_TIERS: Final = ("flex", "priority", "fast")
"""Service tiers with prices of their own. What is `default`, `auto` or `standard` has the standard price."""


class Tokens(NamedTuple):
    """What one answer used.

    Attributes:
        input: All input tokens; the cached and the audio ones are among them.
        output: All output tokens; the reasoning and the audio ones are among them.
        cache_read: Input tokens that the provider had in its cache.
        cache_write: Input tokens that it wrote into its cache, for its usual five minutes.
        cache_write_1h: Those that it wrote there for an hour.
        reasoning: Output tokens that no answer shows. They are billed as output.
        input_audio: Input tokens of sound.
        output_audio: Output tokens of sound.
        web_searches: Searches that the provider made, and bills apart.
    """

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    reasoning: int = 0
    input_audio: int = 0
    output_audio: int = 0
    web_searches: int = 0

    def to_list(self) -> list[int]:
        """Return the counts in the order of the attributes, without the zeros at the end."""
        if not any(self[2:]):
            return [self.input, self.output] if self.output else [self.input] if self.input else []
        counts = list(self)
        while counts and not counts[-1]:
            counts.pop()
        return counts


class Used(NamedTuple):
    """The usage of one answer, and what it was billed at.

    Attributes:
        model: The model that has answered, as the provider names it; empty if the answer does not say.
        tokens: What it used.
        tier: The service tier, where it has a price of its own; else empty.
    """

    model: str
    tokens: Tokens
    tier: str = ""


def read_usage(answer: object) -> Used | None:
    """Return the usage that an answer reports; `None` if it reports none.

    Reads the bodies of OpenAI (chat, responses, completions, embeddings) and those who speak like it, of Anthropic and
    of Gemini, and LangChain's messages as `_messages` encodes them. A whole line of a batch's output is read too.
    """
    if type(answer) is dict and (plain := plain_chat(answer)) is not None:
        model, tier, given, made = plain
        return Used(model, Tokens(given, made), tier)
    if not isinstance(answer, Mapping):
        return None
    match answer:
        case {"__message__": {"data": dict(data)}}:
            return _message(data)
        case {"usageMetadata": dict(usage)}:
            return Used(_text(answer.get("modelVersion")), _gemini(usage))
        case {"usage": dict(usage)} if "cache_read_input_tokens" in usage or "cache_creation_input_tokens" in usage:
            return Used(_text(answer.get("model")), _anthropic(usage), _tier(usage.get("service_tier")))
        case {"type": "message", "usage": dict(usage)}:
            return Used(_text(answer.get("model")), _anthropic(usage), _tier(usage.get("service_tier")))
        case {"usage": dict(usage)} if any(name in usage for name in _OPENAI):
            return Used(_text(answer.get("model")), _openai(usage), _tier(answer.get("service_tier")))
        case {"response": {"body": dict(body)}}:
            return read_usage(body)
        case _:
            return None


def _openai(usage: Mapping[str, Any]) -> Tokens:
    given, made = _first(usage, "prompt_tokens", "input_tokens"), _first(usage, "completion_tokens", "output_tokens")
    into = _inner(usage, "prompt_tokens_details", "input_tokens_details")
    out = _inner(usage, "completion_tokens_details", "output_tokens_details")
    return Tokens(
        input=given,
        output=made,
        cache_read=_count(into, "cached_tokens"),
        cache_write=_count(into, "cache_write_tokens"),
        reasoning=_count(out, "reasoning_tokens"),
        input_audio=_count(into, "audio_tokens"),
        output_audio=_count(out, "audio_tokens"),
    )


def plain_chat(answer: dict[str, Any]) -> tuple[str, str, int, int] | None:
    """Read the most frequent answer by far: a chat completion that tells no tokens apart.

    Returns:
        Model, tier, input and output tokens; `None` for any other answer.
    """
    counts = plain_counts(answer)
    if counts is None:
        return None
    return model_of(answer), tier_of(answer), *counts


def model_of(answer: dict[str, Any]) -> str:
    """Return the model that a chat completion names."""
    return _text(answer.get("model"))


def tier_of(answer: dict[str, Any]) -> str:
    """Return the service tier that a chat completion names, where it has a price of its own; else nothing."""
    return _tier(answer.get("service_tier"))


def plain_counts(answer: dict[str, Any]) -> tuple[int, int] | None:
    """Return the input and output tokens of a chat completion that tells none apart; `None` for any other answer."""
    try:
        usage = answer["usage"]
        given, made = usage["prompt_tokens"], usage["completion_tokens"]
        if answer["object"] != "chat.completion" or type(given) is not int or type(made) is not int:
            return None
    except (LookupError, TypeError):
        return None
    into, out = usage.get("prompt_tokens_details", _NOT_THERE), usage.get("completion_tokens_details", _NOT_THERE)
    known = 4 + ("total_tokens" in usage) - (into is _NOT_THERE) - (out is _NOT_THERE)
    if len(usage) != known or given < 0 or made < 0 or "usageMetadata" in answer or "__message__" in answer:
        return None
    if (into and (type(into) is not dict or any(into.values()))) or (
        out and (type(out) is not dict or any(out.values()))
    ):
        return None
    return given, made


def _anthropic(usage: Mapping[str, Any]) -> Tokens:
    """Read Anthropic's usage, whose `input_tokens` leave out what was read from the cache or written to it.

    Source: https://platform.claude.com/docs/en/build-with-claude/prompt-caching, "Tracking cache performance".
    """
    read, written = _count(usage, "cache_read_input_tokens"), _count(usage, "cache_creation_input_tokens")
    hour = _count(_inner(usage, "cache_creation"), "ephemeral_1h_input_tokens")
    return Tokens(
        input=_count(usage, "input_tokens") + read + written,
        output=_count(usage, "output_tokens"),
        cache_read=read,
        cache_write=max(written - hour, 0),
        cache_write_1h=min(hour, written),
        web_searches=_count(_inner(usage, "server_tool_use"), "web_search_requests"),
    )


def _gemini(usage: Mapping[str, Any]) -> Tokens:
    """Read Gemini's usage, which counts thoughts apart from the candidates, and bills both as output.

    Source: https://ai.google.dev/api/generate-content#UsageMetadata.
    """
    thoughts = _count(usage, "thoughtsTokenCount")
    return Tokens(
        input=_count(usage, "promptTokenCount") + _count(usage, "toolUsePromptTokenCount"),
        output=_count(usage, "candidatesTokenCount") + thoughts,
        cache_read=_count(usage, "cachedContentTokenCount"),
        reasoning=thoughts,
        input_audio=_modality(usage.get("promptTokensDetails"), "AUDIO"),
        output_audio=_modality(usage.get("candidatesTokensDetails"), "AUDIO"),
    )


def _message(data: Mapping[str, Any]) -> Used | None:
    """Read a LangChain message: `usage_metadata` counts everything in, and names the tier in its details."""
    usage, told = data.get("usage_metadata"), data.get("response_metadata")
    if not isinstance(usage, Mapping):
        return None
    told = told if isinstance(told, Mapping) else {}
    into, out = _inner(usage, "input_token_details"), _inner(usage, "output_token_details")
    tier = _tier(told.get("service_tier")) or next((each for each in _TIERS if f"{each}_cache_read" in into), "")
    prefix = f"{tier}_" if tier and f"{tier}_cache_read" in into else ""
    hour = _count(into, "ephemeral_1h_input_tokens")
    written = _count(into, f"{prefix}cache_creation") or hour + _count(into, "ephemeral_5m_input_tokens")
    tokens = Tokens(
        input=_count(usage, "input_tokens"),
        output=_count(usage, "output_tokens"),
        cache_read=_count(into, f"{prefix}cache_read"),
        cache_write=max(written - hour, 0),
        cache_write_1h=hour,
        reasoning=_count(out, f"{prefix}reasoning"),
        input_audio=_count(into, "audio"),
        output_audio=_count(out, "audio"),
    )
    model = next((told[each] for each in ("model_name", "model") if isinstance(told.get(each), str)), "")
    return Used(_text(model), tokens, tier)


def _modality(details: object, name: str) -> int:
    rows = details if isinstance(details, list) else []
    return sum(
        _count(each, "tokenCount") for each in rows if isinstance(each, Mapping) and each.get("modality") == name
    )


def _tier(given: object) -> str:
    return given if isinstance(given, str) and given in _TIERS else ""


def _text(given: object) -> str:
    return given.removeprefix("models/") if isinstance(given, str) else ""


def _inner(usage: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    for name in names:
        inner = usage.get(name)
        if type(inner) is dict or isinstance(inner, Mapping):
            return inner
    return {}


def _first(usage: Mapping[str, Any], *names: str) -> int:
    for name in names:
        if name in usage:
            return _count(usage, name)
    return 0


def _count(usage: Mapping[str, Any], name: str) -> int:
    value = usage.get(name)
    return value if type(value) is int and value > 0 else 0
