"""The items of what is queued in a Batcher, for a flush function of the user's."""

from collections.abc import Iterable

from batch_bridge._core.json import messages as _messages
from batch_bridge._core.models import Request
from batch_bridge._engine import Engine
from batch_bridge._ledger.ledger import Ledger


class QueuedItems:
    """The items that wait to be sent, as they were given. Used on the worker's own thread."""

    def __init__(self) -> None:
        self._items: dict[str, object] = {}

    async def read(self, ledger: Ledger) -> None:
        """Have the items at hand that a process before this one has left queued."""
        self.add(await ledger.requests([waiting.id for waiting in await ledger.queue()]))

    def add(self, requests: Iterable[Request]) -> None:
        """Have the items of requests at hand that are queued now."""
        self._items.update((request.id, _messages.decode(request.item)) for request in requests)

    def drop_sent(self, engine: Engine) -> None:
        """Drop those that are sent."""
        if len(self._items) > engine.queued:
            unsent = {each for each in self._items if engine.knows(each) and not engine.is_sent(each)}
            self._items = {each: item for each, item in self._items.items() if each in unsent}

    def waiting(self, engine: Engine) -> list[object]:
        """Return those that wait, oldest first."""
        return [self._items[request_id] for request_id in engine.waiting]
