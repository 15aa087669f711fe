"""Finds the accounts of a thread or an item, for callbacks that receive its cost."""

from collections.abc import Iterator, Sequence

from batch_bridge._money.account import Account, AccountLine


class Askers:
    """The places in accounts of each thread, and of each request that no thread waits for. Kept in memory."""

    def __init__(self) -> None:
        self._places: dict[str, list[tuple[Account, int]]] = {}

    def add(self, account: Account, requests: Sequence[str] = ()) -> None:
        """Note whose an account is; `requests` are the ids of its requests, where they are known."""
        for place, who in enumerate(account.who):
            asker = who.thread or (requests[place] if place < len(requests) else "")
            if asker:
                self._places.setdefault(asker, []).append((account, place))

    def lines(self, asker: str) -> Iterator[AccountLine]:
        """Return what was used for a thread, or for a request, as far as that is known by now."""
        for account, place in self._places.get(asker, ()):
            yield from account.of((place,))

    def forget(self, asker: str) -> None:
        """Release a thread or a request that has ended and was reported."""
        self._places.pop(asker, None)
