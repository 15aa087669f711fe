"""The bridge of a Batcher: the one that it was given, or one that its own arguments describe."""

import inspect
from collections.abc import Callable, Mapping
from typing import Unpack

from batch_bridge._core.policy.flush_policy import FlushPolicy, QueueSummary
from batch_bridge._core.provider import Provider
from batch_bridge.batcher._types import PoolOptions, ShouldFlush
from batch_bridge.bridge import Bridge


def bridge_of(
    constructor: Callable[..., None],
    provider: Provider | Bridge | None,
    when: Callable[[QueueSummary], bool] | None,
    **options: Unpack[PoolOptions],
) -> Bridge:
    """Return the bridge of a Batcher: the one that it was given, or one with these options.

    Args:
        constructor: Where the options come from; it says what they are by default.
        provider: The bridge, or what answers for one.
        when: When to send besides size and age; see `FlushPolicy`.
        **options: What describes a bridge.

    Raises:
        TypeError: There is a bridge, and options that it has for itself; or neither a provider nor two functions.
    """
    if isinstance(provider, Bridge):
        if named := _given(constructor, options, *options):
            raise TypeError(
                f"Batcher(Bridge(…), {named}): a bridge has its own; give it to the Bridge, and sizes and ages to the "
                "Bridge's flush=FlushPolicy(…)"
            )
        return provider
    if provider is None and (options["submit_func"] is None or options["poll_func"] is None):
        raise TypeError("Batcher lacks submit_func= or poll_func=; pass both, or a provider: Batcher(OpenAIBatch(…))")
    flush = options["flush"]
    if flush is None:
        flush = FlushPolicy(max_requests=options["max_batch_size"], max_age=options["max_batch_age"], when=when)
    elif named := _given(constructor, options, "max_batch_size", "max_batch_age", "should_flush_func"):
        raise TypeError(f"Batcher(flush=…, {named}): a flush policy says all of it; give one or the other")
    return Bridge(
        provider,
        submit=options["submit_func"],
        poll=options["poll_func"],
        name=options["name"],
        flush=flush,
        poll_interval=options["poll_interval"],
        poll_patience=options["poll_patience"],
        cache=options["cache"],
        dedupe=options["dedupe"],
        mode=options["mode"],
        realtime_below=options["realtime_below"],
        ladder=options["ladder"],
        deadline=options["deadline"],
        fallback=options["fallback"],
        budget=options["budget"],
        notify=options["notify"],
    )


def when_flushed(should_flush: ShouldFlush, queued_items: Callable[[], list[object]]) -> Callable[[QueueSummary], bool]:
    """Return the `when` of a flush policy that asks a function of the user's about what is queued."""

    def is_wanted(queue: QueueSummary) -> bool:
        if not queue.requests:
            return False
        return bool(should_flush(queued_items(), queue.last_flushed.astimezone().replace(tzinfo=None)))

    return is_wanted


def _given(constructor: Callable[..., None], options: Mapping[str, object], *names: str) -> str:
    """Return which of these arguments are not what they are by default, for an error."""
    defaults = inspect.signature(constructor).parameters
    return ", ".join(f"{name}=" for name in names if options[name] != defaults[name].default)
