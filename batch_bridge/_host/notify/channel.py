"""Sends notices through apprise, by URL. A URL holds a secret as a rule: none is ever logged, shown or repeated."""

import asyncio
import importlib
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeAlias

from batch_bridge._host.notify.text import Notice
from batch_bridge.errors import MissingPackageError

logger = logging.getLogger("batch_bridge")

Notify: TypeAlias = str | Sequence[str]
"""A URL of apprise, such as `"ntfy://topic"`, or several."""
_PATIENCE: Final = 20.0
"""Seconds that a notice may take; after that it counts as not sent."""
_TALKATIVE: Final = ("apprise", "urllib3.connectionpool")
"""Loggers of the libraries that send, which log URLs at level DEBUG and on failures."""
_sending = threading.local()


class Notifier:
    """Sends notices to one or several URLs.

    Args:
        urls: Where to, as apprise names them.
        what: The object that received them, for its errors.

    Raises:
        MissingPackageError: The extra `notify` is not installed.
        TypeError, ValueError: One of them is no URL that apprise can send to.
    """

    def __init__(self, urls: Notify, what: str = "notify=") -> None:
        self._ways: list[Callable[..., bool]] = []
        apprise = _apprise()
        given = [urls] if isinstance(urls, str) else urls
        if not isinstance(given, Sequence) or not given or not all(isinstance(each, str) for each in given):
            raise TypeError(f'{what} is no URL and no list of URLs; give one of apprise, such as "ntfy://topic"')
        for number, url in enumerate(given, start=1):
            with _silently():
                way = apprise.Apprise.instantiate(url)
            if way is None:
                raise ValueError(
                    f"{what}: apprise cannot send to URL {number} of {len(given)} (it is not repeated here, for it may "
                    "hold a secret); see https://appriseit.com/services/ for how its service is written"
                )
            self._ways.append(way.notify)
        self._has_warned = False

    def __repr__(self) -> str:
        return f"Notifier({len(self._ways)} URLs)"

    async def send(self, notice: Notice) -> bool:
        """Send a notice to all, and return whether all have taken it. Raises nothing; a failure is logged once."""
        sent = [await self._send(way, notice) for way in self._ways]
        if not all(sent) and not self._has_warned:
            self._has_warned = True
            logger.warning(
                "a notice could not be sent, by %d of %d URLs; the run continues. This is logged once",
                sent.count(False),
                len(sent),
            )
        return all(sent)

    async def _send(self, way: Callable[..., bool], notice: Notice) -> bool:
        try:
            async with asyncio.timeout(_PATIENCE):
                return await asyncio.to_thread(_notify, way, notice)
        except Exception:  # noqa: BLE001  # what a service's plugin raises may hold its URL
            return False


def notifier(given: object, what: str) -> Notifier | None:
    """Return the notifier to use; `None` if no notices are wanted.

    Raises:
        MissingPackageError, TypeError, ValueError: As `Notifier`.
    """
    if given is None or isinstance(given, Notifier):
        return given
    return Notifier(given, f"{what}(notify=…)")  # type: ignore[arg-type]  # checked there


def _apprise() -> Any:
    try:
        return importlib.import_module("apprise")
    except ImportError as error:
        raise MissingPackageError(
            "notify= needs apprise, which is not installed; run: pip install 'langgraph-batch-bridge[notify]'",
            name="apprise",
        ) from error


def _notify(way: Callable[..., bool], notice: Notice) -> bool:
    with _silently():
        return bool(way(title=f"BatchBridge: {notice.title}", body=notice.body))


class _Silence(logging.Filter):
    """Drops what is logged in a thread that sends."""

    def filter(self, record: logging.LogRecord) -> bool:
        del record
        return not getattr(_sending, "is_on", False)


@contextmanager
def _silently() -> Iterator[None]:
    """Silence the loggers that would log a URL, in this thread, while the block runs."""
    for name in _TALKATIVE:
        talkative = logging.getLogger(name)
        if not any(isinstance(each, _Silence) for each in talkative.filters):
            talkative.addFilter(_Silence())
    _sending.is_on = True
    try:
        yield
    finally:
        _sending.is_on = False
