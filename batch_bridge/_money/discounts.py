"""What a batch costs of the standard price, where the price list has no prices of batches. Pure: a table."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final


@dataclass(frozen=True, slots=True)
class Discount:
    """A provider's discount on batches.

    Attributes:
        factor: What is left of the standard price.
        cached: Whether it holds for cached tokens too; else these keep the standard price of cached tokens.
        source: Where the provider says so.
    """

    factor: Decimal
    cached: bool
    source: str


_HALF: Final = Decimal("0.5")

BATCH: Final[Mapping[str, Discount]] = {
    "openai": Discount(_HALF, False, "https://developers.openai.com/api/docs/pricing, Batch"),  # noqa: FBT003
    "azure": Discount(
        _HALF,
        False,  # noqa: FBT003
        "https://learn.microsoft.com/azure/ai-foundry/openai/how-to/batch",
    ),
    "anthropic": Discount(
        _HALF,
        True,  # noqa: FBT003
        "https://platform.claude.com/docs/en/build-with-claude/batch-processing#pricing",
    ),
    "google": Discount(_HALF, False, "https://ai.google.dev/gemini-api/docs/pricing, Batch"),  # noqa: FBT003
    "groq": Discount(_HALF, False, "https://console.groq.com/docs/batch"),  # noqa: FBT003
    "together": Discount(_HALF, False, "https://docs.together.ai/docs/batch-inference"),  # noqa: FBT003
    "mistral": Discount(_HALF, True, "https://docs.mistral.ai/capabilities/batch/"),  # noqa: FBT003
}
"""By the provider's id in `genai-prices`."""

FLEX: Final[Mapping[str, Discount]] = {
    "openai": Discount(_HALF, True, "https://developers.openai.com/api/docs/guides/flex-processing"),  # noqa: FBT003
    "azure": Discount(
        _HALF,
        True,  # noqa: FBT003
        "https://learn.microsoft.com/azure/foundry/openai/how-to/flex-processing",
    ),
    "google": Discount(_HALF, True, "https://ai.google.dev/gemini-api/docs/flex-inference"),  # noqa: FBT003
}
"""The flex tier, as above."""

_BACKGROUND: Final = "https://developers.openai.com/api/docs/guides/background"
WINDOWS: Final[Mapping[str, Discount]] = {
    "window:2h": Discount(Decimal("0.7"), True, _BACKGROUND),  # noqa: FBT003
    "window:8h": Discount(Decimal("0.6"), True, _BACKGROUND),  # noqa: FBT003
}
"""Completion windows of responses in the background, by lane; OpenAI's."""


def discount_of(lane: str, vendor: str | None) -> Discount | None:
    """Return the discount of a lane; `None` where none is known."""
    match lane:
        case "batch":
            return BATCH.get(vendor or "")
        case "flex":
            return FLEX.get(vendor or "")
        case _:
            return WINDOWS.get(lane) if vendor == "openai" else None


_USUAL: Final[Mapping[str, Decimal]] = {"batch": _HALF, "flex": _HALF} | {
    lane: window.factor for lane, window in WINDOWS.items()
}
"""What a lane costs of the standard price where nothing is known of the provider."""


def share_of(lane: str, vendor: str | None) -> Decimal:
    """Return the share of the standard price that a lane costs, to compare lanes by."""
    known = discount_of(lane, vendor)
    return _USUAL.get(lane, Decimal(1)) if known is None else known.factor
