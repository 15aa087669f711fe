"""Whose run a resumed run will be: checked before the first one is created, so that none is ever the service's."""

import httpx
from langgraph_sdk.errors import APIError, APIStatusError

from batch_bridge._core.wording.log import about, logger_of
from batch_bridge._node.platform.client import ON_BEHALF_OF, Access, identity_in, knows_users
from batch_bridge.errors import BridgeUnreachableError

logger = logger_of(__name__)

_NEVER = 86_400
"""Seconds until the run of a check would begin; it is deleted at once."""


def check_configured(bridge: str, access: Access, user: str) -> None:
    """Check that the bridge has an identity that can resume a user's thread.

    Raises:
        BridgeUnreachableError: This deployment knows its users, and the bridge has no identity.
    """
    if user and access.service is None and knows_users():
        raise BridgeUnreachableError(
            f"wait(…, batcher={bridge!r}): this deployment's threads belong to users ('auth' in langgraph.json), and "
            f"the bridge has no identity that could resume a thread of {user!r}. {how(bridge)}"
        )


async def vouch(bridge: str, access: Access, user: str, assistant: str) -> None:
    """Check once in a process that a run created for a user is that user's, with a run that never begins.

    Args:
        bridge: Its name.
        access: How it reaches the server.
        user: The user of the thread that is about to wait, or to be resumed.
        assistant: What that thread runs.

    Raises:
        BridgeUnreachableError: The run belongs to another user, or the server refuses it.
    """
    if not user or access.service is None or access.is_vouched or user == access.identity:
        return
    caller, headers = access.acting(user)
    thread = ""
    try:
        thread = (await caller.threads.create(metadata={"batch_bridge": "identity"}, headers=headers))["thread_id"]
        run = await caller.runs.create(thread, assistant, after_seconds=_NEVER, headers=headers)
    except APIStatusError as error:
        if error.status_code in (401, 403, 404):
            raise BridgeUnreachableError(
                f"{bridge!r} cannot create a run as the user {user!r} (HTTP {error.status_code}). {how(bridge)}"
            ) from error
        raise
    finally:
        if thread:
            try:
                await access.client().threads.delete(thread)
            except (APIError, httpx.HTTPError) as error:
                logger.warning(
                    "%s: thread %s, on which a run for %r was checked, could not be deleted (%s). Delete it within a "
                    "day: otherwise that run starts, with an empty input",
                    bridge,
                    thread,
                    user,
                    type(error).__name__,
                    extra=about(bridge=bridge),
                )
    check_identity(bridge, user, run)
    access.is_vouched = True


def check_identity(bridge: str, user: str, run: object) -> None:
    """Check that a run that was created for a user is that user's.

    Raises:
        BridgeUnreachableError: It belongs to another user.
    """
    found = identity_in(run)
    if found is None:
        logger.warning(
            "%s: the server does not report the user of a new run; it should be %r",
            bridge,
            user,
            extra=about(bridge=bridge),
        )
    elif found != user:
        raise BridgeUnreachableError(
            f"{bridge!r} created a run for the user {user!r}, but the server assigned it to {found!r}: its nodes would "
            f"run with the rights of another user. {how(bridge)}"
        )


def how(bridge: str) -> str:
    """Return what to configure."""
    return (
        f"Configure Bridge(…, name={bridge!r}, client=lambda user: get_client(url=…, headers=…)), which returns a "
        f"client of that user, and for None one of a service that may read all threads. Or client=lambda: get_client("
        f"url=…, headers=…) with only the service's headers, and an authentication handler that accepts the service as "
        f"the user in its {ON_BEHALF_OF!r} header. `name` is the id in langgraph.json. See docs/langgraph-server.md"
    )
