"""What a caller of a Batcher holds on to: its requests, and a future for their outcomes."""

import asyncio
import concurrent.futures
import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from batch_bridge._core.models import Outcome, Request

Status: TypeAlias = Literal["queued", "in_flight"]


@dataclass(frozen=True, slots=True)
class PendingRequest:
    """There is no outcome yet, and the caller does not wait for one."""

    status: Status


Ended: TypeAlias = Outcome | PendingRequest


@dataclass(slots=True, eq=False)
class Submission:
    """Requests that were asked together and are answered together, in order.

    Attributes:
        requests: What was asked, until it is taken in; nobody else holds its items then.
        future: Gets the outcomes, in the order of the requests. Belongs to the caller's loop, or to no loop.
        flush: Send at once what waits when these have been queued.
        missing: How many outcomes are still to come.
        places: Where each request stands, by its id, in their order.
        outcomes: Those that have come, by place.
    """

    requests: list[Request]
    future: "asyncio.Future[list[Ended]] | concurrent.futures.Future[list[Ended]]"
    flush: bool = False
    missing: int = field(init=False)
    places: dict[str, int] = field(init=False)
    outcomes: list[Ended | None] = field(init=False)

    def __post_init__(self) -> None:
        self.missing = len(self.requests)
        self.places = dict(zip([each.id for each in self.requests], range(self.missing), strict=True))
        self.outcomes = [None] * self.missing

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The loop that the future belongs to; `None` for a caller that blocks."""
        return self.future.get_loop() if isinstance(self.future, asyncio.Future) else None

    def put(self, ended: Iterable[tuple[str, Ended]]) -> bool:
        """Note outcomes, by request id; return whether all are there."""
        places, outcomes = self.places, self.outcomes
        for request_id, outcome in ended:
            place = places[request_id]
            if outcomes[place] is None:
                outcomes[place] = outcome
                self.missing -= 1
        return not self.missing

    def resolve(self) -> None:
        """Hand the outcomes over. Called on the future's own loop, if it has one."""
        if not self.future.done():
            self.future.set_result([outcome for outcome in self.outcomes if outcome is not None])

    def fail(self, error: BaseException) -> None:
        """Hand an error over. Called as `resolve` is."""
        if not self.future.done():
            self.future.set_exception(error)


def hand_back(submissions: Iterable[Submission], action: Callable[[Submission], None]) -> None:
    """Resolve or fail submissions, each on its own loop, with one crossing for each loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Submission]] = {}
    for submission in submissions:
        loop = submission.loop
        if loop is None:
            action(submission)
        else:
            by_loop.setdefault(loop, []).append(submission)
    for loop, held in by_loop.items():
        with contextlib.suppress(RuntimeError):  # its loop has ended, and no caller waits there any more
            loop.call_soon_threadsafe(_act, action, held)


def _act(action: Callable[[Submission], None], submissions: list[Submission]) -> None:
    for submission in submissions:
        action(submission)
