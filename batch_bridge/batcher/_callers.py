"""The callers of a Batcher: what they hand in, and what they get for it."""

import asyncio
import concurrent.futures
from collections.abc import Sequence
from typing import Any

from batch_bridge._core import outcomes as _outcome
from batch_bridge._core.json import messages as _messages
from batch_bridge._core.models import Outcome, Request, Succeeded
from batch_bridge.batcher._request_ids import Names
from batch_bridge.batcher._submission import Ended, PendingRequest, Submission
from batch_bridge.batcher._worker.worker import Worker
from batch_bridge.errors import BatchBridgeError, ResultPending


class Callers:
    """Hands requests to a worker, and waits for their outcomes. From any thread and any event loop.

    Args:
        worker: Who answers.
        names: Where a name is given back that no caller uses any more; `None`: no name is used twice.
    """

    def __init__(self, worker: Worker, names: Names | None) -> None:
        self._worker = worker
        self._names = names

    def hand_in(
        self,
        requests: list[Request],
        future: "asyncio.Future[list[Ended]] | concurrent.futures.Future[list[Ended]]",
        *,
        flush: bool = False,
    ) -> Submission:
        """Hand requests in; `future` gets their outcomes.

        Raises:
            BatcherClosedError: The Batcher is closed, or belongs to another process.
        """
        submission = Submission(requests, future, flush)
        try:
            self._worker.hand_in(submission)
        except BaseException:
            self._give_back(submission)
            raise
        return submission

    def ask_blocking(self, requests: list[Request], *, flush: bool, return_exceptions: bool = False) -> list[Any]:
        """Return the answers to requests; with `flush` all that is queued is sent. Blocks until they have ended."""
        future: concurrent.futures.Future[list[Ended]] = concurrent.futures.Future()
        submission = self.hand_in(requests, future, flush=flush)
        return self.unwrap(submission, self.wait_blocking(submission, future), return_exceptions=return_exceptions)

    async def ask(self, requests: list[Request], *, flush: bool, return_exceptions: bool = False) -> list[Any]:
        """Do what `ask_blocking` does, without blocking."""
        future: asyncio.Future[list[Ended]] = asyncio.get_running_loop().create_future()
        submission = self.hand_in(requests, future, flush=flush)
        return self.unwrap(submission, await self.wait(submission, future), return_exceptions=return_exceptions)

    def first(self, submission: Submission, outcomes: Sequence[Ended]) -> tuple[str, Outcome]:
        """Return the id and the outcome of a submission of one request.

        Raises:
            ResultPending: There is none yet, and its caller does not wait.
        """
        self._give_back(submission)
        request_id, outcome = next(iter(submission.places)), outcomes[0]
        if isinstance(outcome, PendingRequest):
            raise _pending(request_id, outcome)
        return request_id, outcome

    def wait_blocking(self, submission: Submission, future: "concurrent.futures.Future[list[Ended]]") -> list[Ended]:
        """Block until a submission has ended."""
        try:
            return future.result()
        except BaseException:  # Ctrl-C, for one: as in `wait`
            self._give_back(submission)
            raise

    async def wait(self, submission: Submission, future: "asyncio.Future[list[Ended]]") -> list[Ended]:
        """Wait until a submission has ended."""
        try:
            return await future
        except BaseException:  # cancelled, for one: the next equal item is the same request
            self._give_back(submission)
            raise

    def unwrap(self, submission: Submission, outcomes: Sequence[Ended], *, return_exceptions: bool) -> list[Any]:
        """Return the answers that outcomes hold, in order.

        Raises:
            BatchBridgeError: What the first one without an answer ended with, unless `return_exceptions` returns it.
        """
        self._give_back(submission)
        answers: list[Any] = []
        for request_id, outcome in zip(submission.places, outcomes, strict=True):
            if isinstance(outcome, Succeeded):
                answer = outcome.answer
                answers.append(
                    answer if outcome.is_plain else _messages.with_cost(_messages.decode_owned(answer), outcome.cost)
                )
                continue
            error: BatchBridgeError = (
                _pending(request_id, outcome)
                if isinstance(outcome, PendingRequest)
                else _outcome.to_error(request_id, outcome)
            )
            if not return_exceptions:
                raise error
            answers.append(error)
        return answers

    def _give_back(self, submission: Submission) -> None:
        if self._names is None:
            return  # no name is used twice
        for request_id in submission.places:
            self._names.give_back(request_id)


def _pending(request_id: str, outcome: PendingRequest) -> ResultPending:
    where = "in flight" if outcome.status == "in_flight" else "queued"
    return ResultPending(
        f"the answer is not available yet: the request is {where}; repeat the same call later (it is sent only once)",
        request_id=request_id,
        status=outcome.status,
    )
