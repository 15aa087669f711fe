"""A provider's settings, checked."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from batch_bridge._core.durations import Within, required
from batch_bridge._core.models import JSON
from batch_bridge.providers._shared import defaults as _defaults
from batch_bridge.providers.openai._batch import KEY
from batch_bridge.providers.openai._dialects import OPENAI, Quirks, hours

_MOST_PAIRS: Final = 16
_LONGEST_NAME: Final = 64
_LONGEST_VALUE: Final = 512
"""A batch's metadata.

Source: OpenAI API reference, "Create batch", `metadata`.
"""
_LONGEST_LIFE: Final = timedelta(days=30)
"""The most that a file's expiry may be.

Source: OpenAI API reference, "Upload file" and "Create batch", `expires_after` and `output_expires_after`.
"""


@dataclass(frozen=True, slots=True)
class OpenAISettings:
    """How batches are made.

    Attributes:
        endpoint: Where a body goes that does not say.
        defaults: Fields for bodies that do not have them, `model` among them.
        completion_window: As the API takes it.
        metadata: Pairs beside our own key.
        files_expire_after: Life of the input files; `None` leaves it to the API.
        output_expires_after: Life of the output and error files.
        quirks: How the server differs from OpenAI's.
    """

    endpoint: str | None
    defaults: Mapping[str, JSON]
    completion_window: str
    metadata: Mapping[str, str]
    files_expire_after: timedelta | None
    output_expires_after: timedelta | None
    quirks: Quirks = OPENAI

    def __post_init__(self) -> None:
        if self.endpoint is not None and self.endpoint not in self.quirks.endpoints:
            known = ", ".join(self.quirks.endpoints)
            raise ValueError(f"OpenAIBatch(endpoint={self.endpoint!r}): a batch can be sent to {known}")
        _check_metadata(self.metadata)
        if self.quirks.routes == "mistral":
            hours(self.completion_window)
        shortest = self.quirks.shortest_life
        for name in ("files_expire_after", "output_expires_after"):
            object.__setattr__(self, name, _life(name, getattr(self, name), shortest))


def read_defaults(defaults: Mapping[str, object] | None, model: str | None) -> dict[str, JSON]:
    """Return the fields for bodies that do not have them.

    Raises:
        TypeError, ValueError: They are no fields of a body, or a batch cannot hold them.
    """
    fields = _defaults.read_defaults("OpenAIBatch", defaults, model)
    _defaults.refuse_stream("OpenAIBatch", fields)
    return fields


def _check_metadata(metadata: Mapping[str, str]) -> None:
    if KEY in metadata:
        raise ValueError(f"OpenAIBatch(metadata=…): {KEY!r} is reserved for BatchBridge's own key; rename yours")
    if len(metadata) >= _MOST_PAIRS:
        raise ValueError(
            f"OpenAIBatch(metadata=…) has {len(metadata)} pairs; the API accepts {_MOST_PAIRS}, and one is ours"
        )
    for name, value in metadata.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f"OpenAIBatch(metadata=…): {name!r}: {value!r} is not a pair of strings; make it one")
        if len(name) > _LONGEST_NAME or len(value) > _LONGEST_VALUE:
            raise ValueError(
                f"OpenAIBatch(metadata=…): the pair {name[:80]!r} is too long; the API accepts names of "
                f"{_LONGEST_NAME} and values of {_LONGEST_VALUE} characters"
            )


def _life(name: str, given: Within, shortest: timedelta) -> timedelta | None:
    """Return how long files live; `None` if nothing was given."""
    if given is None:
        return None
    life = required(given, f"OpenAIBatch({name}={{given}})")
    if not shortest <= life <= _LONGEST_LIFE:
        least = "one hour" if shortest < timedelta(days=1) else f"{shortest.days} days"
        raise ValueError(f"OpenAIBatch({name}={given!r}): the API takes from {least} to 30 days")
    return life
