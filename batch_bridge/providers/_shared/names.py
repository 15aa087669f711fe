"""The names of servers that speak OpenAI's batch API. All other lists of names derive from this and from `KINDS`."""

from typing import Final, Literal, TypeAlias, get_args

OpenAIName: TypeAlias = Literal["openai", "groq", "together", "mistral", "doubleword", "vllm"]
"""OpenAI, and the compatible servers. Azure is a provider of its own, since its client takes other options."""
OPENAI_NAMES: Final[tuple[OpenAIName, ...]] = get_args(OpenAIName)
