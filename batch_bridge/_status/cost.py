"""What a file has cost: the receipt of `batch-bridge cost`, as JSON."""

from typing import Any, Final

import orjson

from batch_bridge._money import Account, Cost, Prices, add_up, receipt
from batch_bridge._money.receipt import to_json
from batch_bridge._status.ledgers import Ledgers

_PRICES: Final = Prices()


class CostReader:
    """Adds up what the ended batches of a file have cost. Prices each batch once, however often it is asked."""

    def __init__(self) -> None:
        self._priced: dict[tuple[str, str], tuple[int, Cost | None]] = {}

    def read(self, ledgers: Ledgers) -> dict[str, Any] | None:
        """Return what ended batches have cost, in exact strings; `None` where nothing is known of money."""
        known: dict[tuple[str, str], tuple[int, Cost | None]] = {}
        for bridge, kinds in ledgers.kinds.items():
            if "money" not in kinds:
                continue
            is_open = set(ledgers.keys(bridge, "batches"))
            for key, value in ledgers.values(bridge, "money"):
                if key in is_open:
                    continue
                state = hash(value)
                before = self._priced.get((bridge, key))
                known[bridge, key] = before if before and before[0] == state else (state, _price(key, value))
        self._priced = known
        costs = [cost for _, cost in known.values() if cost is not None]
        return to_json(add_up(costs)) if costs else None


def _price(key: str, value: bytes) -> Cost | None:
    account = Account.from_row(orjson.loads(value))
    if not account.lane and not key.startswith("hit-"):
        return None
    cost = receipt([(_PRICES, account.each())])
    return cost if cost.requests else None
