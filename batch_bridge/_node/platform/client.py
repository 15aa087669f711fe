"""The clients that call the server on a bridge's behalf, and their identities."""

import asyncio
import inspect
import json
import os
import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, TypeAlias
from urllib.parse import quote
from uuid import UUID, uuid4, uuid5
from weakref import WeakKeyDictionary, WeakValueDictionary

from langgraph.store.base import PutOp, SearchOp
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient

from batch_bridge._core.wording.log import logger_of
from batch_bridge._ledger.rows import Rows

logger = logger_of(__name__)

Service: TypeAlias = LangGraphClient | Callable[[], LangGraphClient] | Callable[[str | None], LangGraphClient]
"""A client with an identity of its own, or a function that makes one: for itself (`None`), or for a user."""

LINGER: Final = 1
"""Seconds between the first wait that requests a wake-up and the tick that serves it."""
ON_BEHALF_OF: Final = "batch-bridge-on-behalf-of"
"""The header in which the service names the user that it resumes a thread for, percent-encoded.

Only the deployment's authentication handler can check who sends it: it must trust the service and no other caller.
"""
_NAMES = UUID("6f0a8a52-5b0e-5d0c-9a53-0b6b6f1f6c11")
_MOST_CLIENTS: Final = 1000
"""Clients of users that are kept for one event loop."""


def bridge_thread(graph_id: str) -> str:
    """Return the thread of a bridge that has no identity of its own. Its queue is what keeps two ticks apart."""
    return str(uuid5(_NAMES, graph_id))


def knows_users() -> bool:
    """Return whether this deployment authenticates its users with a handler of its own (`auth` in `langgraph.json`).

    Source: the server reads the same variable, https://docs.langchain.com/langsmith/custom-auth.
    """
    given = os.environ.get("LANGGRAPH_AUTH", "")
    try:
        auth = json.loads(given or "{}")
    except ValueError:
        return True
    return isinstance(auth, Mapping) and bool(auth.get("path"))


def identity_in(run: object) -> str | None:
    """Return the user who created a run, as the server recorded it; `None` without a record.

    The key is the server's: it refuses a caller that sets it.
    """
    place = run
    for name in ("kwargs", "config", "configurable", "langgraph_auth_user_id"):
        place = place.get(name) if isinstance(place, Mapping) else None
    return place if isinstance(place, str) else None


@dataclass(eq=False)
class Access:
    """How a bridge and its waiting nodes reach the server.

    Args:
        service: Calls as itself, and so sees what its headers allow. Without one the server is called in-process, as
            the user whose run makes the call.
        linger: Seconds between the first wait that rings and the tick that answers it.
    """

    service: Service | None = None
    linger: int = LINGER

    def __post_init__(self) -> None:
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, OrderedDict[str | None, LangGraphClient]] = (
            WeakKeyDictionary()
        )
        self._threads: dict[str, str] = {}
        self._takes_user = _takes_user(self.service)
        self.identity: str | None = None
        """The identity that the server gives the service; learned from the first run that it creates."""
        self.is_vouched = False
        """Whether a run that was created for a user has been seen to be that user's."""

    def client(self) -> LangGraphClient:
        """Return a client for the loop that runs; a connection belongs to one loop."""
        return self._client(None)

    def acting(self, user: str) -> tuple[LangGraphClient, dict[str, str] | None]:
        """Return what creates a run as a user: a client, and headers of that call.

        Args:
            user: Empty: the service itself, or the user whose run makes the call where there is no service.
        """
        if self.service is None or not user or user == self.identity:
            return self.client(), None
        if self._takes_user:
            return self._client(user), None
        return self.client(), {ON_BEHALF_OF: quote(user, safe="")}

    async def thread_of(self, bridge: str, store: Rows | None) -> str:
        """Return the thread that all ticks of a bridge run on.

        Where the bridge has an identity of its own, others have too: the id is random then, so that no user can make
        a thread of that id first. The id is in the deployment's store, and the oldest one counts.
        """
        if self.service is None or store is None:
            return bridge_thread(bridge)
        if bridge not in self._threads:
            namespace = ("batch_bridge", bridge, "thread")
            (rows,) = await store.abatch([SearchOp(namespace, limit=100)])
            if not rows:
                await store.abatch([PutOp(namespace, str(uuid4()), {}, index=False)])
                (rows,) = await store.abatch([SearchOp(namespace, limit=100)])
            self._threads[bridge] = str(min(rows, key=lambda row: (row.created_at, row.key)).key)
        return self._threads[bridge]

    def learn(self, run: object) -> None:
        """Note the identity that the server gives the service, from a run that the service created as itself."""
        self.identity = identity_in(run) or self.identity

    def _client(self, user: str | None) -> LangGraphClient:
        if isinstance(self.service, LangGraphClient):
            return self.service
        held = self._clients.setdefault(asyncio.get_running_loop(), OrderedDict())
        client = held.get(user)
        if client is None:
            client = held[user] = self._make(user)
            if len(held) > _MOST_CLIENTS:
                held.popitem(last=False)
        return client

    def _make(self, user: str | None) -> LangGraphClient:
        service: Any = self.service
        if service is None:
            return get_client()
        made: LangGraphClient = service(user) if self._takes_user else service()
        return made


def _takes_user(service: Service | None) -> bool:
    if service is None or isinstance(service, LangGraphClient):
        return False
    try:
        parameters = inspect.signature(service).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD) for each in parameters)


_DEFAULT = Access()
_served: WeakValueDictionary[str, Access] = WeakValueDictionary()
"""Of bridges that this process serves, by graph id."""
_built: WeakValueDictionary[str, Access] = WeakValueDictionary()
"""Of bridges whose graph was asked for, by their own names: the graph's id, as a rule."""


def introduce(graph_id: str, access: Access) -> None:
    """Remember how a bridge is reached that this process serves, for the waits that know only its graph's id."""
    _served[graph_id] = access


def introduce_built(name: str, access: Access) -> None:
    """Remember how a bridge is reached whose graph was asked for. The first one of a name stays, while it lives."""
    _built.setdefault(name, access)


def is_introduced(name: str) -> bool:
    """Return whether this process serves a bridge of that name."""
    return _find(name) is not None


def access_of(name: str) -> Access:
    """Return how a bridge is reached; in-process, where none of that name is served here."""
    return _find(name) or _DEFAULT


def _find(name: str) -> Access | None:
    return _served.get(name) or _of_server(name) or _built.get(name)


def _of_server(graph_id: str) -> Access | None:
    """Return the access of a bridge that langgraph.json names itself: the server calls it only for its first run.

    Source: `langgraph_api.graph.GRAPHS`, which is not public. Without it a bridge is known from its first run on, and
    before that by its own name; that is said once. `tests/unit/testing/test_server_names.py` says when it has vanished.
    """
    module = sys.modules.get("langgraph_api.graph")
    graphs = getattr(module, "GRAPHS", None)
    if not isinstance(graphs, Mapping):
        if module is not None:
            _say_once(
                "this langgraph-api has no table `langgraph_api.graph.GRAPHS`, so until its first run a bridge is "
                "known by its own name alone: give each Bridge(…, client=…) name= its id in langgraph.json"
            )
        return None
    access = getattr(graphs.get(graph_id), "_access", None)
    return access if isinstance(access, Access) else None


@cache
def _say_once(text: str) -> None:
    logger.warning("%s", text)
