"""A provider's settings, checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from batch_bridge._core.models import JSON
from batch_bridge.providers._shared import defaults as _defaults


@dataclass(frozen=True, slots=True)
class AnthropicSettings:
    """How batches are made.

    Attributes:
        defaults: Fields for bodies that do not have them, `model` and `max_tokens` among them.
        betas: What goes into the `anthropic-beta` header of each create call.
        lost_after: When a create call that shows no batch is lost; `None` is never.
        prime: Whether one request of each prefix goes first.
    """

    defaults: Mapping[str, JSON]
    betas: Sequence[str]
    lost_after: timedelta | None
    prime: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.betas, str) or not all(isinstance(each, str) and each for each in self.betas):
            raise TypeError(f"AnthropicBatch(betas={self.betas!r}): give a list of names")
        if not isinstance(self.prime, bool):
            raise TypeError(f"AnthropicBatch(prime={self.prime!r}): give True or False")
        if self.lost_after is not None and self.lost_after < timedelta():
            raise ValueError(f"AnthropicBatch(lost_after={self.lost_after!r}): it cannot be negative")

    def headers(self) -> dict[str, str]:
        """Return the headers of a create call beside the client's own."""
        return {"anthropic-beta": ",".join(self.betas)} if self.betas else {}


def read_defaults(defaults: Mapping[str, object] | None, model: str | None, max_tokens: int) -> dict[str, JSON]:
    """Return the fields for bodies that do not have them.

    Raises:
        TypeError, ValueError: They are no fields of a body, or a batch cannot hold them.
    """
    fields = _defaults.read_defaults("AnthropicBatch", defaults, model)
    if isinstance(max_tokens, bool) or not isinstance(max_tokens, int):
        raise TypeError(f"AnthropicBatch(max_tokens={max_tokens!r}): pass a whole number")
    if max_tokens < 1:
        raise ValueError(f"AnthropicBatch(max_tokens={max_tokens!r}): a batch takes 1 or more")
    _defaults.refuse_stream("AnthropicBatch", fields)
    return {"max_tokens": max_tokens, **fields}
