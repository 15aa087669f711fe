"""Who waits for which outcome, and what has become of all that was asked."""

from collections import Counter
from collections.abc import Iterable, Mapping

from batch_bridge._core import outcomes as _outcome
from batch_bridge._core.models import Outcome, Succeeded
from batch_bridge.batcher._submission import Submission


class Waiters:
    """The submissions that wait, by the ids of their requests. Used on one thread.

    Attributes:
        asked: How many requests were asked.
        answered: How many of them have ended.
        failures: How many of those without an answer, by their code.
    """

    def __init__(self) -> None:
        self._submissions: dict[str, Submission] = {}
        self.asked = self.answered = 0
        self.failures: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._submissions)

    def __contains__(self, request_id: str) -> bool:
        return request_id in self._submissions

    @property
    def ids(self) -> list[str]:
        """The requests that are waited for."""
        return list(self._submissions)

    def waited_for(self, request_ids: Iterable[str]) -> list[str]:
        """Return those of some requests that are waited for, in their order."""
        submissions = self._submissions
        return [each for each in request_ids if each in submissions]

    def add(self, submission: Submission) -> None:
        """Have a submission wait for the outcomes of all its requests."""
        self._submissions.update(dict.fromkeys(submission.places, submission))
        self.asked += len(submission.places)

    def pop(self, request_id: str) -> Submission | None:
        """Return who waits for an outcome; it does so no more."""
        return self._submissions.pop(request_id, None)

    def clear(self) -> set[Submission]:
        """Return all that wait; they do so no more."""
        left = set(self._submissions.values())
        self._submissions.clear()
        return left

    def share_out(self, outcomes: Mapping[str, Outcome]) -> Iterable[tuple[Submission, Mapping[str, Outcome]]]:
        """Return who waits for outcomes, each with its own, and count those; who gets one waits for it no more."""
        submissions = [self._submissions.pop(request_id, None) for request_id in outcomes]
        shares: dict[Submission, Mapping[str, Outcome]] = {}
        if len(set(submissions)) == 1 and submissions[0] is not None:
            shares = {submissions[0]: outcomes}
        else:
            found: dict[Submission, dict[str, Outcome]] = {}
            for submission, (request_id, outcome) in zip(submissions, outcomes.items(), strict=True):
                if submission is not None:
                    found.setdefault(submission, {})[request_id] = outcome
            shares.update(found)
        for ended in shares.values():
            self.answered += len(ended)
            self.failures.update([_outcome.code(each) for each in ended.values() if not isinstance(each, Succeeded)])
        return shares.items()
