"""What a file has cost: the receipt of `batch-bridge cost`, as JSON."""

from typing import Any

from batch_bridge._money import Account, AccountLine, Prices, receipt
from batch_bridge._money.receipt import to_json
from batch_bridge._status.ledgers import Ledgers


def cost_of(ledgers: Ledgers) -> dict[str, Any] | None:
    """Return what ended batches have cost, in exact strings; `None` where nothing is known of money."""
    lines: list[AccountLine] = []
    for bridge, kinds in ledgers.kinds.items():
        if "money" not in kinds:
            continue
        is_open = {key for key, _ in ledgers.rows(bridge, "batches")}
        for key, row in ledgers.rows(bridge, "money"):
            account = Account.from_row(row)
            if key not in is_open and (account.lane or key.startswith("hit-")):
                lines += account.each()
    return to_json(receipt([(Prices(), lines)])) if lines else None
