"""What a stream shows of a thread: the chunks of all its legs, as if the answers had come at once."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from batch_bridge.runner._threads.thread import sort_interrupts

_INTERRUPT: Final = "__interrupt__"
_METADATA: Final = "__metadata__"
"""What LangGraph puts into the update of a task that was not run, because its writes were there."""

Namespace = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StreamChunk:
    """One chunk of a thread that is streamed; its result comes after the last."""

    value: Any


@dataclass(slots=True)
class LegFilter:
    """Takes out of LangGraph's chunks what parking adds: our interrupts, and what a resumed leg repeats.

    Of `values` and `updates` nothing is shown twice. The other modes tell what runs, and a node that waits runs again
    for each answer: their chunks pass as they are.

    Args:
        options: The keyword arguments of `astream`.
    """

    options: Mapping[str, Any]
    _legs: int = 0
    _parked: set[Namespace] = field(default_factory=set)
    _parked_before: set[Namespace] = field(default_factory=set)
    _repeats_updates: bool = False

    def begin(self) -> None:
        """Note that a leg begins."""
        self._legs += 1
        self._parked_before, self._parked = self._parked, set()
        self._repeats_updates = self._legs > 1

    def pick(self, chunk: Any) -> Iterable[Any]:
        """Return what to show of a chunk: itself, without our interrupts, or nothing."""
        namespace, mode, payload = self._read(chunk)
        if mode not in ("values", "updates"):
            return (chunk,)
        is_v2 = isinstance(chunk, Mapping) and "data" in chunk and "type" in chunk
        held = chunk.get("interrupts", ()) if is_v2 and mode == "values" else _interrupts(payload)
        if held:
            return self._without_ours(chunk, namespace, payload, held, is_v2=is_v2)
        return () if self._is_repeated(namespace, mode, payload) else (chunk,)

    def _is_repeated(self, namespace: Namespace, mode: str, payload: Any) -> bool:
        if mode == "values":
            if namespace in self._parked:  # what finished siblings have written, ahead of the step's end
                return True
            is_first = namespace in self._parked_before
            self._parked_before.discard(namespace)
            return is_first
        is_cached = isinstance(payload, Mapping) and bool((payload.get(_METADATA) or {}).get("cached"))
        if not is_cached:
            self._repeats_updates = False
        return self._repeats_updates

    def _without_ours(
        self, chunk: Any, namespace: Namespace, payload: Any, held: Sequence[Any], *, is_v2: bool
    ) -> Iterable[Any]:
        others = tuple(each for each in held if sort_interrupts([each])[1])
        if len(others) == len(held):
            return (chunk,)
        self._parked.add(namespace)
        if not others:
            return ()
        if is_v2 and "interrupts" in chunk:
            return ({**chunk, "interrupts": others},)
        shown = {**payload, _INTERRUPT: others}
        if is_v2:
            return ({**chunk, "data": shown},)
        return ((*chunk[:-1], shown) if isinstance(chunk, tuple) else shown,)

    def _read(self, chunk: Any) -> tuple[Namespace, str, Any]:
        """Return a chunk's namespace, its mode and what it holds."""
        mode = self.options.get("stream_mode") or "values"
        if self.options.get("version") == "v2":
            return tuple(chunk["ns"]), chunk["type"], chunk["data"]
        is_several = not isinstance(mode, str)
        if self.options.get("subgraphs"):
            return (chunk[0], chunk[1], chunk[2]) if is_several else (chunk[0], mode, chunk[1])
        return ((), chunk[0], chunk[1]) if is_several else ((), mode, chunk)


def _interrupts(payload: Any) -> Sequence[Any]:
    return payload.get(_INTERRUPT, ()) if isinstance(payload, Mapping) else ()
