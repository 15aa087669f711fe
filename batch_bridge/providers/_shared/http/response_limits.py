"""How much, how long and from where a provider may answer."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from batch_bridge._core.durations import FORMS, parse
from batch_bridge.errors import ResponseRejected


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseLimits:
    """Limits for a provider's responses. A server that exceeds them can neither fill memory nor block the engine.

    Sizes are counted in bytes after decompression.

    Attributes:
        answer_bytes: One answer: a line of a batch's results, or the response to a realtime call. A longer line fails
            its own request with the code `answer_too_large`; other lines are read.
        body_bytes: The response to any other call, such as the state of a batch or a page of a listing.
        download_bytes: The results of one batch.
        listed: Batches that are searched for one whose create response was lost.
        call_time: One call, from its first byte to its last.
        transfer_time: A call that carries a batch's requests or results, or waits for an answer of a model.
        hosts: Further hosts to which the provider may redirect, such as the storage of its files. They are called only
            over HTTPS, and receive no key. The host of the client's `base_url` is always allowed.

    Raises:
        ValueError: A limit is not above 0.
    """

    answer_bytes: int = 32_000_000
    body_bytes: int = 8_000_000
    download_bytes: int = 20_000_000_000
    listed: int = 20_000
    call_time: timedelta = timedelta(minutes=2)
    transfer_time: timedelta = timedelta(hours=1)
    hosts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("answer_bytes", "body_bytes", "download_bytes", "listed"):
            value = getattr(self, name)
            if not isinstance(value, int) or value <= 0:
                raise ValueError(f"ResponseLimits({name}={value!r}): pass a whole number above 0")
        for name in ("call_time", "transfer_time"):
            value = parse(getattr(self, name))
            if value is None or value <= timedelta(0):
                raise ValueError(f"ResponseLimits({name}={getattr(self, name)!r}): give a positive duration: {FORMS}")
            object.__setattr__(self, name, value)
        if isinstance(self.hosts, str):
            raise ValueError(f"ResponseLimits(hosts={self.hosts!r}): pass a tuple of names")  # noqa: TRY004


USUAL: Final = ResponseLimits()
"""The default limits."""


def endless(limits: ResponseLimits) -> ResponseRejected:
    """Return what is raised where a listing of batches does not end."""
    return ResponseRejected(
        f"the provider's listing contains more batches than ResponseLimits(listed={limits.listed:_}), and the one that "
        "is looked for is not among them; raise the limit if there are so many"
    )
