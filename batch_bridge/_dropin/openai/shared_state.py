"""What a wrapped client shares with the copies that are made of it: its settings, its Batchers, what was warned of."""

import math
import os
import threading
from collections import OrderedDict
from collections.abc import Mapping, MutableMapping, Sequence
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
from batch_bridge._node.wait import DEFAULT, Named
from batch_bridge.batcher import Batcher, OnPending
from batch_bridge.batcher._inside import Inside
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


class SharedClientState:
    """The settings of one `wrap_openai`, and what goes with them.

    Args:
        batcher: See `wrap_openai`, as for the others.
        unsupported: What becomes of calls that a batch cannot hold.
        flush: Of the shared Batcher.
        poll_interval: Of the shared Batcher.
        path: Of the shared Batcher.
        on_pending: Of the shared Batcher.
        provider: Of the shared Batcher.
        deadline: Of each call.
        mode: Of the shared Batcher.
        ladder: Of the shared Batcher.
        most_open: Shared Batchers that are kept open while nothing waits for them.

    Raises:
        TypeError: An argument is of another type.
        ValueError: An argument makes no sense, or is for the shared Batcher and `batcher` is a Batcher.
    """

    def __init__(
        self,
        *,
        batcher: str | Named | Batcher | None,
        unsupported: Unsupported,
        flush: FlushPolicy | None,
        poll_interval: Duration,
        path: str | os.PathLike[str] | None,
        on_pending: OnPending,
        provider: Provider | None,
        deadline: Within,
        mode: Mode | None = None,
        ladder: Sequence[LaneName] | None = None,
        most_open: int = _MOST_OPEN,
    ) -> None:
        self._most_open = most_open
        for name, value, known in (
            ("unsupported", unsupported, get_args(Unsupported)),
            ("on_pending", on_pending, get_args(OnPending)),
        ):
            if value not in known:
                raise ValueError(f"wrap_openai({name}={value!r}): pass {' or '.join(map(repr, known))}")
        check_batcher(batcher, what="wrap_openai")
        if flush is not None and not isinstance(flush, FlushPolicy):
            raise TypeError(f"wrap_openai(flush={flush!r}) is not a policy; pass flush=FlushPolicy(max_idle=…, …)")
        poll_interval = _interval(poll_interval)
        if isinstance(batcher, Batcher):
            given = {
                "flush": flush is not None,
                "poll_interval": poll_interval != _POLL_INTERVAL,
                "path": path is not None,
                "on_pending": on_pending != "wait",
                "provider": provider is not None,
            }
            if names := [f"{name}=" for name, is_given in given.items() if is_given]:
                raise ValueError(
                    f"wrap_openai(client, Batcher(…), {', '.join(names)}): a Batcher has its own; pass it to the "
                    "Batcher instead"
                )
        elif on_pending == "raise" and path is None:
            raise ValueError(
                'wrap_openai(on_pending="raise") needs a file for pending requests; pass path="batches.db"'
            )
        self._batcher = batcher
        self._deadline = duration(deadline)
        self._unsupported = unsupported
        self._flush = flush or FlushPolicy(max_idle=1.0)
        self._poll_interval = poll_interval
        self._mode = mode
        self._ladder = ladder
        self._path = path
        self._on_pending = on_pending
        self._provider = provider or getattr(batcher, "provider", None)
        self._askers: MutableMapping[ClientIdentity, Asker] = {} if path is not None else WeakValueDictionary()
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
        """Log a warning, once for a family."""
        if message not in self._warned:
            self._warned.add(message)
            logger.warning("wrap_openai: %s", message)

    def _make(self, provider: Provider | None, identity: ClientIdentity) -> Batcher:
        self._end_idle(identity)
        try:
            return Batcher(
                provider,
                name=self._batcher if isinstance(self._batcher, str) else getattr(self._batcher, "name", DEFAULT),
                flush=self._flush,
                poll_interval=self._poll_interval,
                path=self._path,
                on_pending=self._on_pending,
                mode=self._mode,
                ladder=self._ladder,
                _inside=Inside(place=self._place),
            )
        except RunFileError as error:
            other = next((each for each, asker in tuple(self._askers.items()) if asker.is_open), None)
            if other is None:
                raise
            raise RunFileError(
                f"wrap_openai(…, path={os.fspath(self._path or '')!r}): a copy of this client has the file open, and "
                f"differs in {identity.difference(other)}, so they cannot share it; use a file for each, "
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


def _interval(given: object) -> timedelta:
    if isinstance(given, float) and not math.isfinite(given):
        raise ValueError(f"wrap_openai(poll_interval={given!r}) is not a finite time; pass a number of seconds")
    interval = required(given, "wrap_openai(poll_interval={given})")
    if interval <= timedelta(0):
        raise ValueError(f"wrap_openai(poll_interval={given!r}) would poll without a pause; pass a positive one")
    return interval
