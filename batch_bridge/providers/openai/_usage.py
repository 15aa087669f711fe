"""Token counts of an answer, as LangChain names them. Pure."""

from collections.abc import Mapping
from typing import Any, cast

from langchain_core.messages.ai import InputTokenDetails, OutputTokenDetails, UsageMetadata


def usage_metadata(usage: Mapping[str, Any], service_tier: object = None) -> UsageMetadata:
    """Return what an answer cost, from the spelling of either API.

    Args:
        usage: The answer's `usage`.
        service_tier: The answer's; tokens of `flex` and `priority` are told apart.
    """
    given = _count(usage, "input_tokens") or _count(usage, "prompt_tokens")
    made = _count(usage, "output_tokens") or _count(usage, "completion_tokens")
    tier = service_tier if service_tier in ("flex", "priority") else None
    into = _details(usage, "input_tokens_details", "prompt_tokens_details")
    out = _details(usage, "output_tokens_details", "completion_tokens_details")
    inputs = {
        "audio": into.get("audio_tokens"),
        _named(tier, "cache_read"): into.get("cached_tokens"),
        _named(tier, "cache_creation"): into.get("cache_write_tokens"),
    }
    outputs = {"audio": out.get("audio_tokens"), _named(tier, "reasoning"): out.get("reasoning_tokens")}
    if tier is not None:
        inputs[str(tier)] = given - _whole(into.get("cached_tokens"))
        outputs[str(tier)] = made - _whole(out.get("reasoning_tokens"))
    return UsageMetadata(
        input_tokens=given,
        output_tokens=made,
        total_tokens=_count(usage, "total_tokens") or given + made,
        input_token_details=cast("InputTokenDetails", _known(inputs)),
        output_token_details=cast("OutputTokenDetails", _known(outputs)),
    )


def _named(tier: object, name: str) -> str:
    return f"{tier}_{name}" if tier else name


def _known(details: Mapping[str, object]) -> dict[str, Any]:
    return {name: count for name, count in details.items() if isinstance(count, int)}


def _details(usage: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    return next((usage[name] for name in names if isinstance(usage.get(name), Mapping)), {})


def _count(usage: Mapping[str, Any], name: str) -> int:
    return _whole(usage.get(name))


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0
