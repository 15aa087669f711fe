"""The requests of a Batcher: each item gets a name, and is written as JSON."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any, TypeAlias

import orjson

from batch_bridge._core.durations import Within, duration
from batch_bridge._core.json import messages as _messages
from batch_bridge._core.json.json_values import Written, dumps
from batch_bridge._core.models import JSON, Request, Serialized
from batch_bridge._core.payload.trace_context import current as current_trace
from batch_bridge.batcher._request_ids import FreshNames, Names
from batch_bridge.batcher._worker.thread import WorkerThread

Identity: TypeAlias = Callable[[Request], bytes]


class RequestMaker:
    """Makes requests out of items. From any thread.

    Args:
        names: What requests are called that a later process may ask for again; `None`: none is asked for again.
        identity: Returns what decides an answer besides its item, as the provider says; `None` where it cannot say.
        thread: On whose loop the provider is asked until it can tell.
    """

    def __init__(self, names: Names | None, identity: Identity | None, thread: WorkerThread) -> None:
        self._fresh_names = FreshNames()
        self._are_fresh = names is None
        self._names: Names = self._fresh_names if names is None else names
        self._identity = identity
        self._thread = thread
        self._is_placed = False

    def make(
        self, items: Iterable[Any], deadline: Within = None, *, samples: bool = False, is_priced: bool = False
    ) -> list[Request]:
        """Return a request for each item.

        Args:
            items: As for `Batcher.map`.
            deadline: As for `Batcher.submit`.
            samples: As for `Batcher.map`.
            is_priced: What they cost is wanted.

        Raises:
            JSONError: An item contains something that is not valid JSON; none has taken a name.
        """
        if self._are_fresh and not samples:
            return self._fresh(items, duration(deadline), is_priced=is_priced)
        within, held = duration(deadline), list(items)
        encoded = [_messages.encode(item) for item in held]  # what cannot be asked takes no name
        priced = [is_priced or _messages.has_messages(item) for item in held]
        if self._needs_place:
            identities = self._placed(self._thread.on_loop(lambda: self._identify(encoded)))
            return self._name(encoded, identities, within, samples=samples, priced=priced)
        return self._name(encoded, self._identify(encoded), within, samples=samples, priced=priced)

    async def amake(
        self, items: Iterable[Any], deadline: Within = None, *, samples: bool = False, is_priced: bool = False
    ) -> list[Request]:
        """Do what `make` does, on an event loop."""
        if self._are_fresh and not samples:
            return self._fresh(items, duration(deadline), is_priced=is_priced)
        within, held = duration(deadline), list(items)
        encoded = [_messages.encode(item) for item in held]
        priced = [is_priced or _messages.has_messages(item) for item in held]
        if self._needs_place:
            identities = await self._thread.aon_loop(lambda: self._identify(encoded))
            return self._name(encoded, self._placed(identities), within, samples=samples, priced=priced)
        return self._name(encoded, self._identify(encoded), within, samples=samples, priced=priced)

    def _fresh(self, items: Iterable[Any], within: timedelta | None, *, is_priced: bool) -> list[Request]:
        """Return requests that nobody will ask for again: their names do not depend on their items."""
        held = list(items)
        trace = current_trace()
        written = list(map(_messages.encode_bytes, held))
        ids = self._fresh_names.names(len(held))  # what cannot be asked takes no name
        requests: list[Request] = []
        for request_id, item, (data, is_conversation) in zip(ids, held, written, strict=True):
            wants_cost = is_priced or (
                not is_conversation and _messages.may_hold_messages(data) and _messages.has_messages(item)
            )
            request = Serialized(request_id, "", data, "", "", within, "", "", trace, wants_cost, is_conversation)
            if type(item) is Written:
                request.kind = item.kind
            requests.append(request)
        return requests

    def _name(
        self,
        all_encoded: Sequence[JSON],
        identities: Sequence[bytes],
        within: timedelta | None,
        *,
        samples: bool,
        priced: Sequence[bool],
    ) -> list[Request]:
        requests: list[Request] = []
        equal: Counter[bytes] = Counter()
        for encoded, identity, is_priced in zip(all_encoded, identities, priced, strict=True):
            request_id = self._names.name(encoded, identity)
            sample = ""
            if samples:
                content = dumps(_messages.without_ids(encoded))
                sample = str(equal[content] or "")
                equal[content] += 1
            requests.append(
                Serialized(
                    request_id,
                    "",
                    orjson.dumps(encoded),
                    sample=sample,
                    deadline=within,
                    trace=current_trace(),
                    is_priced=is_priced,
                )
            )
        return requests

    @property
    def _needs_place(self) -> bool:
        """A provider that makes its own client reads once where that one sends, and may need an event loop for it."""
        return self._identity is not None and not self._is_placed

    def _placed(self, identities: list[bytes]) -> list[bytes]:
        self._is_placed = any(identities)
        return identities

    def _identify(self, items: Sequence[JSON]) -> list[bytes]:
        """Return what decides the answers besides the items, as the provider says; empty if it cannot say."""
        if self._identity is None:
            return [b""] * len(items)
        identity = self._identity

        def identify(item: JSON) -> bytes:
            try:
                return identity(Request("", "", item))
            except Exception:  # noqa: BLE001  # as in `Deduplication.key`; what is wrong with the item is said later
                return b""

        return [identify(item) for item in items]
