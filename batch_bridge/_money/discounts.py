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
