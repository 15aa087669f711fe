"""How long providers work on a batch, and how long they keep what came of it."""

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

_HOUR: Final = 3600.0
_DAY: Final = 24 * _HOUR


@dataclass(frozen=True, slots=True)
class VendorTerms:
    """A provider's terms, in seconds.

    Attributes:
        window: After that it gives a batch up; `None`: never, or it is not known.
        keeps: After that, from the submission on, it may have deleted the results.
    """

    window: float | None = None
    keeps: float | None = None


_TERMS: Final = {
    "OpenAIBatch": VendorTerms(24 * _HOUR, 30 * _DAY),
    "OpenAIWindow": VendorTerms(None, 30 * _DAY),
    "AzureOpenAIBatch": VendorTerms(None, 14 * _DAY),
    "AnthropicBatch": VendorTerms(24 * _HOUR, 29 * _DAY),
    "GeminiBatch": VendorTerms(48 * _HOUR, 48 * _HOUR),
}
"""By the class that a bridge was given.

Source: https://platform.openai.com/docs/guides/batch (24 h; files for 30 days),
https://developers.openai.com/api/docs/guides/background (a window is a target; stored responses for 30 days),
https://learn.microsoft.com/azure/ai-services/openai/how-to/batch (late jobs go on; files for 14 days and more),
https://docs.anthropic.com/en/docs/build-with-claude/batch-processing (24 h; results for 29 days from the creation),
https://ai.google.dev/gemini-api/docs/batch-api (48 h), https://ai.google.dev/gemini-api/docs/files (48 h).
"""


def terms_for(provider: object, kind: str) -> VendorTerms:
    """Return the terms of a provider, which may state how long its results live (`results_life`)."""
    terms = terms_of(kind)
    life: timedelta | None = getattr(provider, "results_life", None)
    if life is None:
        return terms
    return replace(terms, keeps=min(life.total_seconds(), terms.keeps or life.total_seconds()))


def terms_of(provider: str) -> VendorTerms:
    """Return the terms of a provider by the name of its class; nothing is known of one that is not built in."""
    return _TERMS.get(provider, VendorTerms())
