"""What a report of a Batcher is made of."""

from collections.abc import Callable
from typing import Final, NamedTuple

from batch_bridge._core.models import Closed
from batch_bridge._engine import Engine
from batch_bridge._host.report import Report, of_batches
from batch_bridge._money import Account, Prices, receipt


class ReportFigures(NamedTuple):
    """What was done until now.

    Attributes:
        closed: Ended batches.
        accounts: Returns what each request has used: it is read only then.
        problems: What is wrong now.
    """

    closed: list[Closed]
    accounts: Callable[[], list[Account]]
    problems: tuple[str, ...]

    def report(self, prices: Prices, answered: int) -> Report:
        """Return the report of a Batcher that has answered so many requests."""
        lines = [line for account in self.accounts() for line in account.each()]
        return of_batches(self.closed, receipt([(prices, lines)]), threads=answered, problems=self.problems)


NOTHING: Final = ReportFigures([], list, ())


async def figures_of(engine: Engine) -> ReportFigures:
    """Read the figures of an open engine."""
    return ReportFigures(await engine.closed_batches(), await engine.accounts_unread(), engine.problems)
