"""`wrap_openai`: an OpenAI client whose calls are answered from batches.

A copy of the client is hooked twice. `chat.completions.create` and `responses.create` with plain arguments go straight
to the item and back (`_lean.py`). Everything else goes through the SDK as far as `client.request`: there its HTTP call
is replaced, and parsing, raw responses and structured output stay the SDK's own. An interrupt never meets its retries.
"""

import functools
import os
from collections.abc import Sequence
from typing import Any, Final, TypeVar, cast

from openai import AsyncOpenAI, OpenAI

from batch_bridge._core.closing import close_all
from batch_bridge._core.durations import Duration, Within
from batch_bridge._core.models import JSON
from batch_bridge._core.policy.flush_policy import FlushPolicy
from batch_bridge._core.policy.lanes import LaneName
from batch_bridge._core.policy.mode import Mode, resolve_ladder, resolve_mode
from batch_bridge._core.provider import Provider
from batch_bridge._dropin.asker import Asker
from batch_bridge._dropin.openai.async_client import origin_of
from batch_bridge._dropin.openai.fast_path import shorten
from batch_bridge._dropin.openai.request import ENDPOINTS, RAW, given_headers
from batch_bridge._dropin.openai.response import answer_of, response
from batch_bridge._dropin.openai.shared_state import BatcherSettings, SharedClientState, Unsupported
from batch_bridge._node.link import Named
from batch_bridge.batcher import Batcher, OnPending
from batch_bridge.providers.openai._clients import identity_of

ClientT = TypeVar("ClientT", bound=OpenAI | AsyncOpenAI)

_MARK: Final = "_batch_bridge"


def wrap_openai(
    client: ClientT,
    batcher: str | Named | Batcher | None = None,
    *,
    mode: Mode | None = None,
    ladder: Sequence[LaneName] | None = None,
    unsupported: Unsupported = "raise",
    flush: FlushPolicy | None = None,
    poll_interval: Duration = 30,
    path: str | os.PathLike[str] | None = None,
    on_pending: OnPending = "wait",
    provider: Provider | None = None,
    deadline: Within = None,
) -> ClientT:
    """Return a batched copy of a client: the same class, methods, types and exceptions, at the price of a batch.

    ::

        client = wrap_openai(AsyncOpenAI())
        answers = await asyncio.gather(*(client.chat.completions.create(…) for … in …))

    In a LangGraph node a call waits for a bridge, as `wait` does. Elsewhere, all calls go to a `Batcher` that this
    client and its copies (`with_options`) share; it sends the waiting calls once no call has arrived for a second.

    Args:
        client: An `AsyncOpenAI`, `OpenAI`, `AsyncAzureOpenAI` or `AzureOpenAI`. It does not change. Both share one
            HTTP client, as all copies do: closing one closes it for both.
        batcher: The bridge that nodes wait for, by name or as it is; left out, it is the Runner's only one, else
            `"bridge"`. Or a `Batcher` of your own, for all calls, which has what `flush` and the arguments after it say
            for itself.
        mode: `"realtime"` returns a copy that is not batched at all; another one, such as `"flex"`, is the shared
            Batcher's. Left out, the environment's `BATCH_BRIDGE_MODE` counts. In nodes the bridge's own mode does.
        ladder: Several lanes instead, for the shared Batcher: see `Bridge`. In nodes the bridge's own counts.
        unsupported: What becomes of a call that a batch cannot hold (streams, files, audio, headers of its own, …):
            `"raise"` an `UnsupportedCallError`, or `"realtime"`: it is made at once and at the full price, and the log
            says so once. The default raises, so that nothing costs twice what its author thinks. Calls that only
            read (GET) always pass.
        flush: When the shared Batcher sends what waits.
        poll_interval: The longest pause between two polls of one of its batches (a duration).
        path: The SQLite file that makes the shared Batcher durable.
        on_pending: `"wait"` for the answer, or `"raise"` a `ResultPending` where it is not there yet, and come back
            tomorrow; needs `path`. In nodes it means nothing: they park.
        provider: The provider of the shared Batcher; an `OpenAIBatch` with this client's settings if not given.
        deadline: How long an answer may take (a duration); then it is called in realtime, or answered by
            the bridge's fallback: see `wait`. A call's own `timeout=` is for its HTTP request, and means nothing here.

    Raises:
        TypeError: It is not an OpenAI client, or it has its own `http_client=` or no asynchronous counterpart
            while `provider` is missing; or an argument has the wrong type.
        ValueError: It is already wrapped, or an argument is invalid.
    """
    if not isinstance(client, OpenAI | AsyncOpenAI):
        kind = f"{type(client).__module__}.{type(client).__qualname__}"
        raise TypeError(f"wrap_openai({kind}): pass an openai.AsyncOpenAI, OpenAI, AsyncAzureOpenAI or AzureOpenAI")
    if _MARK in client.__dict__:
        raise ValueError("wrap_openai: this client is already wrapped; wrap the original one")
    lanes = resolve_ladder(ladder, mode, what="wrap_openai")
    resolved = "batch" if lanes else resolve_mode(mode, what="wrap_openai")
    settings = BatcherSettings(
        flush=flush,
        poll_interval=poll_interval,
        path=path,
        on_pending=on_pending,
        provider=provider,
        mode=None if mode == "realtime" else mode,
        ladder=ladder,
    )
    shared = SharedClientState(batcher, settings, unsupported=unsupported, deadline=deadline)
    if resolved == "realtime":
        return cast("ClientT", client.copy())
    return cast("ClientT", _hook(client, client.copy(), shared))


def _hook(plain: Any, copy: Any, shared: SharedClientState) -> Any:
    """Hook a copy of a client. `plain` has the same settings, is not hooked, and sends the batches."""
    asker = shared.asker(identity_of(plain), plain)
    kind = type(copy)

    @functools.wraps(kind.copy)
    def with_options(**options: Any) -> Any:
        shared.note_options(options)
        made = kind.copy(copy, **options)
        return _hook(made, made.copy(), shared)

    hooks = {_MARK: shared, "copy": with_options, "with_options": with_options}
    hooks |= (_async_hooks if isinstance(copy, AsyncOpenAI) else _sync_hooks)(copy, shared, asker)
    copy.__dict__.update(hooks)
    shorten(copy, shared, asker)
    return copy


def _async_hooks(client: Any, shared: SharedClientState, asker: Asker) -> dict[str, Any]:
    kind, origin = type(client), origin_of(client)

    @functools.wraps(kind.request)
    async def request(cast_to: Any, options: Any, *, stream: bool = False, stream_cls: Any = None) -> Any:
        body = shared.take(client, options, stream=stream)
        if body is None:
            return await kind.request(client, cast_to, options, stream=stream, stream_cls=stream_cls)
        endpoint = ENDPOINTS[options.url]
        shared.note_headers(client, asker)
        answer = answer_of(client, endpoint, await asker.ask(origin.item(endpoint, body)))
        return await client._process_response(**_processed(client, cast_to, options, answer))  # noqa: SLF001

    @functools.wraps(kind.close)
    async def close() -> None:
        await close_all((asker.aclose, lambda: kind.close(client)))

    return {"request": request, "close": close}


def _sync_hooks(client: Any, shared: SharedClientState, asker: Asker) -> dict[str, Any]:
    kind, origin = type(client), origin_of(client)

    @functools.wraps(kind.request)
    def request(cast_to: Any, options: Any, *, stream: bool = False, stream_cls: Any = None) -> Any:
        body = shared.take(client, options, stream=stream)
        if body is None:
            return kind.request(client, cast_to, options, stream=stream, stream_cls=stream_cls)
        endpoint = ENDPOINTS[options.url]
        shared.note_headers(client, asker)
        answer = answer_of(client, endpoint, asker.ask_sync(origin.item(endpoint, body)))
        return client._process_response(**_processed(client, cast_to, options, answer))  # noqa: SLF001

    @functools.wraps(kind.close)
    def close() -> None:
        try:
            asker.close()
        finally:
            kind.close(client)

    return {"request": request, "close": close}


def _processed(client: Any, cast_to: Any, options: Any, answer: JSON) -> dict[str, Any]:
    """Return what the SDK's own way from a response to a result takes."""
    raw = {RAW: "true"} if RAW in given_headers(options) else {}
    return {
        "cast_to": client._maybe_override_cast_to(cast_to, options),  # noqa: SLF001
        "options": options,
        "response": response(client, ENDPOINTS[options.url], 200, answer, raw),
        "stream": False,
        "stream_cls": None,
    }
