"""A bridge: a queue with a provider behind it, that nodes name in `wait(…, batcher=…)`."""

from datetime import timedelta

from batch_bridge._engine import Engine
from batch_bridge._flush import FlushPolicy
from batch_bridge._ledger import Ledger
from batch_bridge._pair import Find, Pair, Poll, Submit
from batch_bridge._provider import Provider


class Bridge:
    """Pools the requests of many threads and sends them in batches.

    Give it a provider, or your own pair of functions::

        Bridge(OpenAIBatch(model="gpt-4o-mini"))
        Bridge(submit=submit, poll=poll)

    `submit(items) -> handle` gets the items in order and returns anything JSON can carry. `poll(handle)` returns
    `None` while the batch runs, then a list of answers in the order of the items, or a dict by position; an exception
    as one element fails that request; one that is raised or returned fails the batch. Both may be sync (then they run
    in a thread) or async. A bridge holds no connection and no state; a `Runner` drives it.

    Args:
        provider: Who answers; instead of `submit` and `poll`.
        submit: Sends a batch. With a second parameter it also gets the batch's key, for `find`.
        poll: Tells whether the batch has ended, and with what.
        find: `find(key) -> handle | None` tells, after a crash in the middle of `submit`, whether the batch was
            created. Without it the requests of that batch fail, because nobody can know.
        name: What `wait(…, batcher=…)` calls it. Also part of every stored key: a bridge that is renamed does not find
            its batches again.
        flush: When to send what has been pooled.
        poll_interval: The longest pause between two polls of one batch (a `timedelta`, or seconds). The first polls
            come quicker.

    Raises:
        TypeError: Neither or both of a provider and a pair were given, or an argument is of another type.
        ValueError: The name is empty, or the interval is not positive.
    """

    def __init__(
        self,
        provider: Provider | None = None,
        *,
        submit: Submit | None = None,
        poll: Poll | None = None,
        find: Find | None = None,
        name: str = "bridge",
        flush: FlushPolicy | None = None,
        poll_interval: timedelta | float = 30,
    ) -> None:
        if provider is not None and (submit, poll, find) != (None, None, None):
            raise TypeError("Bridge got a provider and submit= or poll=; give one or the other")
        if provider is None:
            if submit is None or poll is None:
                raise TypeError(
                    f"Bridge lacks {'submit=' if submit is None else 'poll='}; give Bridge(submit=…, poll=…), or a "
                    "provider such as Bridge(OpenAIBatch(…))"
                )
            provider = Pair(submit, poll, find)
        elif not all(hasattr(provider, verb) for verb in ("measure", "submit", "poll", "limits")):
            raise TypeError(
                f"Bridge({provider!r}) is no provider: it lacks measure, submit, poll or limits; for two functions "
                "write Bridge(submit=…, poll=…)"
            )
        if not isinstance(name, str) or not name or "." in name:
            raise ValueError(f"Bridge(name={name!r}): a name is a string that is not empty and has no dots in it")
        if flush is not None and not isinstance(flush, FlushPolicy):
            raise TypeError(f"Bridge(flush={flush!r}) is no policy; give flush=FlushPolicy(max_requests=…, max_age=…)")
        if not isinstance(poll_interval, timedelta | int | float):
            raise TypeError(f"Bridge(poll_interval={poll_interval!r}) is no duration; give a timedelta, or seconds")
        if not isinstance(poll_interval, timedelta):
            poll_interval = timedelta(seconds=poll_interval)
        if poll_interval <= timedelta(0):
            raise ValueError(f"Bridge(poll_interval={poll_interval!r}) would poll without a pause; give a positive one")
        self._provider = provider
        self._name = name
        self._flush = flush or FlushPolicy()
        self._poll_interval = poll_interval

    def __repr__(self) -> str:
        return f"Bridge({type(self._provider).__name__}, name={self._name!r})"

    @property
    def name(self) -> str:
        """What `wait(…, batcher=…)` calls it."""
        return self._name

    @property
    def provider(self) -> Provider:
        """Who answers."""
        return self._provider

    @property
    def poll_interval(self) -> timedelta:
        """The longest pause between two polls of one batch."""
        return self._poll_interval

    def engine(self, ledger: Ledger) -> Engine:
        """Return an engine for this bridge over a ledger; whoever drives it holds the mutex."""
        return Engine(self._name, self._provider, self._flush, ledger, poll_interval=self._poll_interval)
