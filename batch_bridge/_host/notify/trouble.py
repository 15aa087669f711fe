"""The notices of what does not get on by itself: counts and names, and no word of an error's text. Pure."""

from typing import Final, TypeAlias, assert_never

from batch_bridge._host.notify.text import Notice, look
from batch_bridge.events import DeadLetter, ResultsExpiring, Stalled

Trouble: TypeAlias = Stalled | ResultsExpiring | DeadLetter
"""Events that deserve a notice, even for a user who looks at no status."""
_SLOW: Final = {"past_window": "past the window of its provider", "slow": "slower than its like"}
_HOUR: Final = 3600


def of_trouble(event: Trouble, file: str) -> Notice:
    """Return the notice of such an event.

    Args:
        event: What has happened.
        file: Where to look; empty if nowhere.
    """
    match event:
        case Stalled(bridge=bridge, batch=None, seconds=seconds):
            title = f"{bridge!r} has stood still for {seconds:,.0f} seconds"
            says = "Every call of the provider fails, and is tried again; the log says how. Nothing is lost."
            return _notice(f"stall:{bridge}", "stalled", title, says, file)
        case Stalled(bridge=bridge, batch=batch, cause=cause):
            title = f"a batch of {bridge!r} is {_SLOW.get(cause, 'stuck')}"
            return _notice(f"stall:{bridge}:{batch}:{cause}", "stalled", title, "It is looked at still.", file)
        case ResultsExpiring(bridge=bridge, batch=batch, requests=requests, seconds_left=left):
            title = f"results of a batch of {bridge!r} are deleted in {left / _HOUR:,.0f} hours"
            says = f"Its {requests:,} requests are paid for, and it cannot be looked at; the log says why."
            return _notice(f"expiring:{bridge}:{batch}", "expiring", title, says, file)
        case DeadLetter(bridge=bridge, thread=thread, requests=ids):
            title = f"{len(ids):,} outcomes of {bridge!r} cannot be delivered"
            says = f"Thread {thread!r} is gone, or cannot be resumed. They are kept: remove the cause, and replay them."
            return _notice(f"dead:{bridge}:{thread}", f"dead letter {sorted(ids)}", title, says, file)
        case _:
            assert_never(event)


def _notice(key: str, what: str, title: str, says: str, file: str) -> Notice:
    return Notice(key, what, title, "\n".join([says, *look(file)]))
