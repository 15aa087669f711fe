"""What LangGraph does not write down of a parked graph's state: values of `UntrackedValue` channels. Pure.

Such a value is in a channel, in a state that is sent to a node of this step, or in the writes of a task that has ended
while another one of its step is parked. Counters are carried in the interrupt, so that they are there after a restart,
and on another machine. Everything else may be a secret, or large, or no data at all: it stays in memory.
"""

import json
import math
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from batch_bridge._core.models import JSON

_MOST_BYTES: Final = 2_000
"""Of one value that is carried."""
_DEEPEST: Final = 4
_LARGEST: Final = 2**63


@dataclass(slots=True)
class TaskWrites:
    """What a task that has ended wrote, and what was not written down of it.

    Attributes:
        others: How many of its writes are written down; fewer, and the process ended in the middle of them.
        writes: Channels and values, in the order written.
        sent: By the place among the states that it sent: fields and values.
    """

    others: int
    writes: list[tuple[str, Any]] = field(default_factory=list)
    sent: dict[int, dict[str, Any]] = field(default_factory=dict)


@dataclass(slots=True)
class Untracked:
    """The untracked values of a graph in one step.

    Attributes:
        values: By channel.
        sent: By the place among the states that were sent to nodes of this step: fields and values.
        tasks: By the id of a task that has ended.
    """

    values: dict[str, Any] = field(default_factory=dict)
    sent: dict[int, dict[str, Any]] = field(default_factory=dict)
    tasks: dict[str, TaskWrites] = field(default_factory=dict)

    def pairs(self) -> list[tuple[str, Any]]:
        """Return all channels and values."""
        found = [*self.values.items()]
        found += [pair for fields in self.sent.values() for pair in fields.items()]
        for task in self.tasks.values():
            found += task.writes
            found += [pair for fields in task.sent.values() for pair in fields.items()]
        return found

    def in_memory(self) -> list[str]:
        """Return the channels that hold something that is not carried, in order."""
        return sorted({name for name, value in self.pairs() if not is_carried(value)})

    def to_json(self) -> dict[str, JSON]:
        """Return what is carried. Read with `from_json`, by a process that has the rest in memory or ends."""
        row: dict[str, JSON] = {}
        if values := _carried(self.values):
            row["values"] = values
        if self.sent:
            row["sent"] = _sent_to_json(self.sent)
        if self.tasks:
            row["tasks"] = {
                task: {
                    "others": each.others,
                    "writes": [[name, value] for name, value in each.writes if is_carried(value)],
                    "sent": _sent_to_json(each.sent),
                }
                for task, each in self.tasks.items()
            }
        return row

    def update(self, other: "Untracked") -> None:
        """Take in what another record of the same step holds."""
        self.values |= other.values
        self.sent |= other.sent
        self.tasks |= other.tasks


def from_json(row: Mapping[str, Any]) -> Untracked:
    """Return what was carried."""
    return Untracked(
        dict(row.get("values") or {}),
        _sent_from_json(row.get("sent")),
        {
            task: TaskWrites(
                each["others"], [(name, value) for name, value in each["writes"]], _sent_from_json(each["sent"])
            )
            for task, each in (row.get("tasks") or {}).items()
        },
    )


def _carried(fields: Mapping[str, Any]) -> dict[str, JSON]:
    return {name: value for name, value in fields.items() if is_carried(value)}


def _sent_to_json(sent: Mapping[int, Mapping[str, Any]]) -> dict[str, JSON]:
    return {str(place): _carried(fields) for place, fields in sent.items()}


def _sent_from_json(row: Any) -> dict[int, dict[str, Any]]:
    return {int(place): dict(fields) for place, fields in (row or {}).items()}


def is_carried(value: object) -> bool:
    """Return whether a value is written down: numbers, true, false and nothing, alone, in lists, or by names in a dict.

    No text: it may be a secret, which its author wanted in no checkpoint.
    """
    return _is_counter(value, _DEEPEST) and len(json.dumps(value)) <= _MOST_BYTES


def _is_counter(value: object, deepest: int) -> bool:
    kind = type(value)
    if value is None or kind is bool:
        return True
    if isinstance(value, int) and kind is int:
        return -_LARGEST <= value < _LARGEST
    if isinstance(value, float) and kind is float:
        return math.isfinite(value)
    if deepest and isinstance(value, list) and kind is list:
        return all(_is_counter(each, deepest - 1) for each in value)
    if deepest and isinstance(value, dict) and kind is dict:
        return all(type(name) is str and _is_counter(each, deepest - 1) for name, each in value.items())
    return False


class UntrackedMemory:
    """The untracked values of parked threads in this process. From any thread.

    Args:
        most_threads: Then those that were parked longest ago are forgotten; `None`: those that drive the threads see to
            it that they are forgotten when they have ended.
    """

    def __init__(self, most_threads: int | None = None) -> None:
        self._most = most_threads
        self._threads: OrderedDict[str, dict[str, tuple[str, Untracked]]] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, thread: str, namespace: str, checkpoint: str, untracked: Untracked | None) -> None:
        """Keep what a graph, or subgraph, holds in a step, if anything; it takes the place of what it held before."""
        with self._lock:
            if untracked is None:
                self._threads.get(thread, {}).pop(namespace, None)
                return
            self._threads.setdefault(thread, {})[namespace] = (checkpoint, untracked)
            self._threads.move_to_end(thread)
            if self._most is not None and len(self._threads) > self._most:
                self._threads.popitem(last=False)

    @property
    def is_empty(self) -> bool:
        """Whether it holds nothing of any thread."""
        return not self._threads

    def find(self, thread: str, namespace: str, checkpoint: str) -> Untracked | None:
        """Return what a graph held in a step; `None` if it is not known in this process."""
        with self._lock:
            known, untracked = self._threads.get(thread, {}).get(namespace, ("", None))
            return untracked if known == checkpoint else None

    def leave_only(self, thread: str, namespace: str, tasks: set[str]) -> None:
        """Forget the subgraphs below a namespace that belong to other tasks than these: their steps are over."""
        below = f"{namespace}|" if namespace else ""
        with self._lock:
            kept = self._threads.get(thread, {})
            for each in [name for name in kept if name and name != namespace and name.startswith(below)]:
                _, colon, task = each.removeprefix(below).split("|")[0].partition(":")
                if colon and task not in tasks:
                    del kept[each]

    def forget(self, thread: str) -> None:
        """Forget a thread."""
        with self._lock:
            self._threads.pop(thread, None)

    def __len__(self) -> int:
        return len(self._threads)
