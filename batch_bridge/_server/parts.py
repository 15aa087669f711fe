"""What the classes of one bridge's host share."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from batch_bridge._engine import Engine
from batch_bridge._ledger.rows import Rows
from batch_bridge._node.platform.client import Access
from batch_bridge._node.platform.keys import KeyRing
from batch_bridge._server.port.threads import ThreadServer
from batch_bridge._server.records import ServerRecords
from batch_bridge._server.users import Users


@dataclass(frozen=True, slots=True, kw_only=True)
class HostParts:
    """The parts of one bridge's host, made once and passed on whole.

    Attributes:
        bridge: The bridge's name on this server.
        store: The deployment's store.
        records: The bridge's rows in it.
        engine: The bridge's.
        renew: Says that the tick still runs, and fails if it is another's by now.
        access: How the server is reached, as the service or as the user whose a thread is.
        users: The users of threads.
        server: Runs the threads, and shows all of them.
        key_ring: The deployment's keys.
    """

    bridge: str
    store: Rows
    records: ServerRecords
    engine: Engine
    renew: Callable[[], Awaitable[None]]
    access: Access
    users: Users
    server: ThreadServer
    key_ring: KeyRing
