"""Whether a delivery is its sender's, and what it is about."""

import os
from collections.abc import Mapping, Sequence

import orjson

from batch_bridge.webhooks._senders import SENDERS, DeliveryRefused

__all__ = ["DeliveryRefused", "Verifier"]


class Verifier:
    """Verifies deliveries, offline.

    Args:
        sender: Whose they are.
        secret: The endpoint's; `None`: that of the environment.
        tolerance: Seconds that a delivery may be old.

    Raises:
        ValueError: There is no such sender, or no secret, or it is not valid; it is not quoted.
    """

    def __init__(self, sender: str, secret: str | None, tolerance: int) -> None:
        known = SENDERS.get(sender)
        if known is None:
            raise ValueError(f"webhooks.app(sender={sender!r}): pass one of {', '.join(map(repr, SENDERS))}")
        given = os.environ.get(known.variable) if secret is None else secret
        usable = known.secret(given) if given else ""
        if not usable:
            raise ValueError(
                "there is no valid webhook secret, so any sender could forge a delivery: set "
                f"{known.variable}, or pass secret=…; {known.shown}"
            )
        if tolerance <= 0:
            raise ValueError(f"tolerance={tolerance!r}: a delivery may be some seconds old; 300 is usual")
        self._sender = known
        self._secret = usable
        self._tolerance = tolerance

    def ended(self, body: bytes, headers: Mapping[str, str]) -> Sequence[str] | None:
        """Return the names that a batch or response may have; empty for all. `None`: it is about something else.

        Raises:
            DeliveryRefused: It is forged, or older than the tolerance.
        """
        self._sender.check(body, headers, self._secret, self._tolerance)
        try:
            event = orjson.loads(body)
        except orjson.JSONDecodeError:
            return None
        return self._sender.ended(event)
