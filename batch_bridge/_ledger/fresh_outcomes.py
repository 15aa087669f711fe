"""Outcomes that this process has just written are not read back from the store by the threads that wait for them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from batch_bridge._core.json.json_values import copied
from batch_bridge._core.models import Outcome, Succeeded
from batch_bridge._ledger.requests import StoredOutcomes
from batch_bridge._ledger.rows import RowTable

BUDGET: Final = 8_000_000
"""Characters of outcomes that a bridge holds until they are read."""


class FreshOutcomes(StoredOutcomes):
    """Outcomes as rows; the newest ones are in memory too, until they are read once or deleted.

    Args:
        table: Where the rows are.
        budget: Characters of their rows that are held in memory; beyond it they are read from the store.
    """

    def __init__(self, table: RowTable, budget: int = BUDGET) -> None:
        super().__init__(table)
        self._fresh: dict[str, tuple[Outcome, int]] = {}
        self._left = budget

    async def write(self, outcomes: Mapping[str, Outcome]) -> None:
        """See `StoredOutcomes`."""
        rows = {each: self.row(each, outcomes[each]) for each in outcomes}
        await self._table.run(self._table.put("outcomes", each, row) for each, row in rows.items())
        for each, row in rows.items():
            self._release(each)
            weight = len(row["text"])
            if weight <= self._left:
                self._left -= weight
                self._fresh[each] = outcomes[each], weight

    async def read(self, ids: Sequence[str]) -> dict[str, Outcome]:
        """See `StoredOutcomes`."""
        found = {each: _own(fresh) for each in ids if (fresh := self._release(each)) is not None}
        left = [each for each in ids if each not in found] if found else ids
        return found | await super().read(left) if left else found

    async def remove(self, ids: Sequence[str]) -> None:
        """See `StoredOutcomes`."""
        for each in ids:
            self._release(each)
        await super().remove(ids)

    def reset(self) -> None:
        """See `StoredOutcomes`."""
        for each in list(self._fresh):
            self._release(each)

    def _release(self, request_id: str) -> Outcome | None:
        fresh = self._fresh.pop(request_id, None)
        if fresh is None:
            return None
        self._left += fresh[1]
        return fresh[0]


def _own(outcome: Outcome) -> Outcome:
    """Return an outcome whose answer its reader may change: a provider may hold it still, or give it to others."""
    return replace(outcome, answer=copied(outcome.answer)) if isinstance(outcome, Succeeded) else outcome
