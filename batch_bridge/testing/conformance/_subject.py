"""A provider under test, and what stands behind it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self, Unpack, cast

from batch_bridge._core.policy.lanes import open_lane
from batch_bridge._core.provider import Provider
from batch_bridge.testing._server.stats import Stats
from batch_bridge.testing._server.switches.options import ServerOptions
from batch_bridge.testing._server.switches.settings import Settings
from batch_bridge.testing.conformance._natures import lacks_of


class FaultServer(Protocol):
    """What answers the provider and fails on demand, such as a `BatchServer`."""

    @property
    def stats(self) -> Stats:
        """What it has seen and done."""
        ...

    def reset_stats(self) -> None:
        """Set the counters to zero."""
        ...

    def configure(self, **options: Unpack[ServerOptions]) -> None:
        """Set its faults, by the names that `BatchServer` has for them."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A provider under test.

    Attributes:
        open: Makes a provider for an account, named by any string, such as an API key. Two providers of one account
            see the same batches, those of two accounts do not. The kit closes what it has opened.
        item: The n-th of as many questions as are asked for, each with an answer of its own.
        answers: Whether an answer, as JSON, is the one to the n-th question.
        server: Who answers, and fails on demand. Without one the behaviours that need it are excused.
        forms: Items of all the forms that the provider documents; each must be answered, and those with
            LangChain messages by an `AIMessage`.
        bad: An item that `measure` must refuse.
        frame: Bytes of a batch's input that belong to no request.
        lane: The lane that `open` answers in; see `in_lane`.
        lacks: What the provider does not have by its nature, each with the reason: names of the server's faults
            that cannot happen to it, or `"find"`, `"cancel"`, `"fence"`, `"usage"`, `"bytes"`, `"partial"` (answers
            of a batch that was cancelled half way), `"many"` (several requests in a batch), `"process"` (a batch of
            another process is polled).
    """

    open: Callable[[str], Provider]
    item: Callable[[int], Any]
    answers: Callable[[int, Any], bool]
    server: FaultServer | None = None
    forms: Sequence[Any] = ()
    bad: Any = None
    frame: int = 0
    lacks: Mapping[str, str] = field(default_factory=dict)
    lane: str = "batch"

    def in_lane(self, name: str, *, forms: Sequence[Any] | None = None, **lacks: str) -> Self:
        """Return the same provider in one of its lanes, as a subject.

        Args:
            name: As in `provider.lane(name)`, such as `"flex"` or `"window:8h"`.
            forms: The forms of item that the lane takes, if not all.
            lacks: What it does not have besides what its kind of lane lacks by its nature.

        Raises:
            ValueError: `open` raises it, when the kit calls it, if the provider has no such lane.
        """
        return replace(
            self,
            open=lambda account: open_lane(self.open(account), name),
            forms=self.forms if forms is None else forms,
            lacks={**self.lacks, **lacks_of(name), **lacks},
            lane=name,
        )

    @property
    def stats(self) -> Stats:
        """What the server has seen and done since the behaviour began."""
        if self.server is None:
            raise RuntimeError("this subject has no server; the behaviour must name what it needs of one")
        return self.server.stats

    @contextmanager
    def faults(self, **options: Unpack[ServerOptions]) -> Iterator[None]:
        """Have the server fail in a way for as long as the block runs."""
        if self.server is None:
            raise RuntimeError("this subject has no server; the behaviour must name the faults that it needs")
        known = Settings().options()
        self.server.configure(**options)
        try:
            yield
        finally:
            self.server.configure(**cast("ServerOptions", {name: known[name] for name in options}))
