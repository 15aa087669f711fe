"""What a wrapped client shares with the copies that are made of it: its settings, its Batchers, what was warned of."""

import math
import os
import threading
from collections import OrderedDict
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Literal, TypeAlias, get_args
from weakref import WeakValueDictionary, ref

from openai import AsyncAzureOpenAI

from batch_bridge._core.durations import Duration, Within, duration, required
from batch_bridge._core.headers import deciding
from batch_bridge._core.policy.flush_policy import FlushPolicy
from batch_bridge._core.policy.lanes import LaneName
from batch_bridge._core.policy.mode import Mode
from batch_bridge._core.provider import Provider
from batch_bridge._core.wording.log import logger_of
from batch_bridge._dropin.asker import Asker, check_batcher
from batch_bridge._dropin.openai.async_client import async_client_of
from batch_bridge._dropin.openai.instructor import InterruptAwareAsker
from batch_bridge._dropin.openai.request import Body, body_of, has_timeout, refusal, route, usual_headers
from batch_bridge._host.loop_thread import LoopThread
from batch_bridge._node.link import DEFAULT, Named
from batch_bridge.batcher import Batcher, OnPending
from batch_bridge.batcher._inside import Inside
from batch_bridge.bridge import Bridge
from batch_bridge.errors import RunFileError, UnsupportedCallError
from batch_bridge.providers.azure import AzureOpenAIBatch
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.providers.openai._clients import ClientIdentity

logger = logger_of(__name__)

Unsupported: TypeAlias = Literal["raise", "realtime"]

_POLL_INTERVAL: Final = timedelta(seconds=30)
_MOST_OPEN: Final = 16
"""Shared Batchers, of copies for different accounts, that are kept open while nothing waits for them. All run on one
thread."""
_READS: Final = frozenset({"get", "head", "options"})
"""HTTP methods that only read: nothing is billed for them, and nothing is pooled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatcherSettings:
    """What the shared Batchers of one `wrap_openai` are made with; its arguments, as they were given.

    Attributes:
        flush: When they send what waits.
        poll_interval: The longest pause between two polls of one batch.
        path: The SQLite file that makes them durable.
        on_pending: Whether calls wait.
        provider: Who answers; by default one with the client's settings.
        mode: Their lane.
        ladder: Several lanes instead.
    """

    flush: FlushPolicy | None = None
    poll_interval: Duration = _POLL_INTERVAL
    path: str | os.PathLike[str] | None = None
    on_pending: OnPending = "wait"
    provider: Provider | None = None
    mode: Mode | None = None
    ladder: Sequence[LaneName] | None = None

    def __post_init__(self) -> None:
        _check_choice("on_pending", self.on_pending, get_args(OnPending))
        if self.flush is not None and not isinstance(self.flush, FlushPolicy):
            raise TypeError(f"wrap_openai(flush={self.flush!r}) is not a policy; pass flush=FlushPolicy(max_idle=…, …)")
        object.__setattr__(self, "poll_interval", _interval(self.poll_interval))

    def check(self, batcher: object) -> None:
        """Check that these fit what answers.

        Raises:
            ValueError: It is a Batcher, which has them for itself; or pending requests have no file.
        """
        if not isinstance(batcher, Batcher):
            if self.on_pending == "raise" and self.path is None:
                raise ValueError(
                    'wrap_openai(on_pending="raise") needs a file for pending requests; pass path="batches.db"'
                )
            return
        own = ("flush", "poll_interval", "path", "on_pending", "provider")
        usual = BatcherSettings()
        if names := [f"{name}=" for name in own if getattr(self, name) != getattr(usual, name)]:
            raise ValueError(
                f"wrap_openai(client, Batcher(…), {', '.join(names)}): a Batcher has its own; pass it to the "
                "Batcher instead"
            )

    def batcher(self, provider: Provider | None, name: str, inside: Inside) -> Batcher:
        """Return a new Batcher with these settings."""
        bridge = Bridge(
            provider,
            name=name,
            flush=self.flush or FlushPolicy(max_idle=1.0),
            poll_interval=self.poll_interval,
            mode=self.mode,
            ladder=self.ladder,
        )
        return Batcher(bridge, path=self.path, on_pending=self.on_pending, _inside=inside)


class SharedClientState:
    """The settings of one `wrap_openai`, and what goes with them.

    Args:
        batcher: See `wrap_openai`.
        settings: Of the shared Batchers.
        unsupported: What becomes of calls that a batch cannot hold.
        deadline: Of each call.
        most_open: Shared Batchers that are kept open while nothing waits for them.

    Raises:
        TypeError: An argument is of another type.
        ValueError: An argument makes no sense, or is for the shared Batcher and `batcher` is a Batcher.
    """

    def __init__(
        self,
        batcher: str | Named | Batcher | None,
        settings: BatcherSettings,
        *,
        unsupported: Unsupported,
        deadline: Within,
        most_open: int = _MOST_OPEN,
    ) -> None:
        self._most_open = most_open
        _check_choice("unsupported", unsupported, get_args(Unsupported))
        check_batcher(batcher, what="wrap_openai")
        settings.check(batcher)
        self._batcher = batcher
        self._settings = settings
        self._deadline = duration(deadline)
        self._unsupported = unsupported
        self._provider = settings.provider or getattr(batcher, "provider", None)
        self._askers: MutableMapping[ClientIdentity, Asker] = {} if settings.path is not None else WeakValueDictionary()
        self._opened: OrderedDict[ClientIdentity, ref[Asker]] = OrderedDict()
        self._place = LoopThread("batcher wrap_openai", is_shared=True)
        self._warned: set[str] = set()
        self._lock = threading.Lock()

    def asker(self, identity: ClientIdentity, client: Any) -> Asker:
        """Return the Asker of all clients with this identity; `client` is one of them, not hooked.

        Raises:
            TypeError: Its requests cannot be sent by an asynchronous client.
        """
        with self._lock:
            asker = self._askers.get(identity)
            if asker is None:
                provider = self._provider
                if provider is None and not isinstance(self._batcher, Batcher):
                    own = async_client_of(client)
                    provider = AzureOpenAIBatch(own) if isinstance(own, AsyncAzureOpenAI) else OpenAIBatch(own)
                asker = self._askers[identity] = InterruptAwareAsker(
                    self._batcher, lambda: self._make(provider, identity), self._deadline
                )
            return asker

    def take(self, client: Any, options: Any, *, stream: bool) -> Body | None:
        """Return the body of a client's call for a batch, or `None` if the call is to be made at once.

        Raises:
            UnsupportedCallError: A batch cannot hold it, and it is not to be made at once.
            JSONError: Its body holds something that JSON cannot carry.
        """
        if options.method.lower() in _READS:
            return None
        why = refusal(options, stream=stream, usual=usual_headers(client))
        if why is None:
            if has_timeout(options):
                self.warn("a timeout has no effect on a call that waits for a batch")
            return body_of(options)
        called = f"{options.method.upper()} {route(options.url)}"
        if self._unsupported == "raise":
            raise UnsupportedCallError(
                f"{called}: {why}; make this call with the original client, or send it immediately at "
                'full price with wrap_openai(…, unsupported="realtime")'
            )
        self.warn(f"{called} is sent immediately, at full price: {why}")
        return None

    def note_options(self, options: Mapping[str, Any]) -> None:
        """Warn of options of `with_options` that a batch ignores."""
        if "timeout" in options:
            self.warn("with_options(timeout=…) has no effect on a call that waits for a batch")

    def note_headers(self, client: Any, asker: Asker) -> None:
        """Warn that a client's own headers and query are not the bridge's."""
        headers, query = client._custom_headers, client._custom_query  # noqa: SLF001
        if (query or (headers and deciding(headers))) and asker.waits():
            self.warn(
                "the default headers and query of a wrapped client are not sent from a node, where the bridge "
                "uses its own "
                "client; set them there: Bridge(OpenAIBatch(AsyncOpenAI(default_headers=…)))"
            )

    def warn(self, message: str) -> None:
        """Log a warning, once for a client and its copies."""
        if message not in self._warned:
            self._warned.add(message)
            logger.warning("wrap_openai: %s", message)

    def _make(self, provider: Provider | None, identity: ClientIdentity) -> Batcher:
        self._end_idle(identity)
        try:
            name = self._batcher if isinstance(self._batcher, str) else getattr(self._batcher, "name", DEFAULT)
            return self._settings.batcher(provider, name, Inside(place=self._place))
        except RunFileError as error:
            other = next((each for each, asker in tuple(self._askers.items()) if asker.is_open), None)
            if other is None:
                raise
            raise RunFileError(
                f"wrap_openai(…, path={os.fspath(self._settings.path or '')!r}): a copy of this client has the file "
                f"open, and differs in {identity.difference(other)}, so they cannot share it; use a file for each, "
                "wrap_openai(client.with_options(…), path=…), or close() the other one first"
            ) from error

    def _end_idle(self, opening: ClientIdentity) -> None:
        """End the Batchers that have been open longest and wait for nothing, beyond `most_open`: each is an engine."""
        with self._lock:
            self._opened.pop(opening, None)
            for identity, opened in tuple(self._opened.items()):
                asker = opened()
                if asker is None or (len(self._opened) >= self._most_open and asker.end_if_idle()):
                    del self._opened[identity]
            if (asker := self._askers.get(opening)) is not None:
                self._opened[opening] = ref(asker)
        if len(self._opened) > self._most_open:
            self.warn(
                f"more than {self._most_open} copies of a client wait for separate batches, because they differ in "
                "account, address or default headers; calls that share a client share a batch"
            )


def _check_choice(name: str, value: object, known: Sequence[str]) -> None:
    if value not in known:
        raise ValueError(f"wrap_openai({name}={value!r}): pass {' or '.join(map(repr, known))}")


def _interval(given: object) -> timedelta:
    if isinstance(given, float) and not math.isfinite(given):
        raise ValueError(f"wrap_openai(poll_interval={given!r}) is not a finite time; pass a number of seconds")
    interval = required(given, "wrap_openai(poll_interval={given})")
    if interval <= timedelta(0):
        raise ValueError(f"wrap_openai(poll_interval={given!r}) would poll without a pause; pass a positive one")
    return interval
