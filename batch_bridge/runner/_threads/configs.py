"""The configs of a call's threads, and what the threads are called."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

from langchain_core.runnables import RunnableConfig

from batch_bridge._compat.pregel_loop import missing
from batch_bridge._node.link import Link
from batch_bridge._node.step_limits import LINK
from batch_bridge.runner._options import full_config
from batch_bridge.runner._threads.recovery import DIGEST, ROUNDS
from batch_bridge.runner._threads.thread import Thread

_KEEPS_NOTES: Final = not missing()
"""Whether what a `Link` notes gets into the metadata of checkpoints."""


class Configs(Protocol):
    """The config of each thread of a call."""

    def of(self, index: int) -> RunnableConfig:
        """Return the config of an input's thread."""
        ...

    def thread_id(self, index: int) -> str:
        """Return the id of an input's thread."""
        ...


class GivenConfigs:
    """Configs that a call was given: one for each input, or one for all.

    Args:
        configs: They; `None`: there are none.
        run_id: Part of the ids of threads that none names.
        continued: The threads of the run may exist already.
    """

    def __init__(
        self, configs: RunnableConfig | Sequence[RunnableConfig] | None, run_id: str, *, continued: bool
    ) -> None:
        self._configs = configs
        self._run_id = run_id
        self._continued = continued

    @property
    def is_endless(self) -> bool:
        """Whether they do not say how many threads there are."""
        return self._configs is None or isinstance(self._configs, Mapping)

    def of(self, index: int) -> RunnableConfig:
        """Return the config of an input's thread.

        Raises:
            ValueError: There are fewer of them.
        """
        if self._configs is None:
            return {}
        if isinstance(self._configs, Mapping):
            return full_config(self._configs)
        if index >= len(self._configs):
            raise ValueError(
                f"config= is a list of {len(self._configs)}, and there is an input {index}; pass one config for "
                "each input, or one for all"
            )
        return full_config(self._configs[index])

    def thread_id(self, index: int) -> str:
        """Return the id of an input's thread."""
        given = self.of(index).get("configurable", {}).get("thread_id")
        return f"{self._run_id}:{index}" if given is None else str(given)

    def name(self, index: int) -> tuple[str, bool]:
        """Return the id of an input's thread that begins, and whether its config names it.

        Raises:
            ValueError: The config names one thread for all inputs.
        """
        given = self.of(index).get("configurable", {}).get("thread_id")
        if given is None:
            return f"{self._run_id}:{index}", False
        if isinstance(self._configs, Mapping) and index:
            raise ValueError(
                f"config= names thread {given!r} for all inputs, and there are several; pass a list, one config for "
                "each input, or omit the thread_id"
            )
        return str(given), True

    def named(self) -> Iterator[RunnableConfig]:
        """Yield configs that name the threads which may exist already, in order; of a run it is not known how many."""
        several = self._configs is not None and not isinstance(self._configs, Mapping)
        for index in range(len(self._configs or ())) if several else itertools.count():
            config = self.of(index)
            given = config.get("configurable", {}).get("thread_id")
            if given is None and not self._continued:
                if not several:
                    return
                continue
            thread_id = f"{self._run_id}:{index}" if given is None else str(given)
            yield {**config, "configurable": {**config.get("configurable", {}), "thread_id": thread_id}}
            if given is not None and not several:
                return


def leg_config(given: RunnableConfig, thread: Thread, link: Link, *, replay: bool = False) -> RunnableConfig:
    """Return the config with which a leg of a thread runs; with `replay` at the checkpoint that the config names."""
    config: dict[str, Any] = dict(given)
    config["configurable"] = {**config.get("configurable", {}), "thread_id": thread.id, LINK: link}
    if not replay:  # where a replay has parked is the thread's newest checkpoint
        config["configurable"].pop("checkpoint_id", None)
    metadata = {"thread_id": thread.id, **config.get("metadata", {})}  # as LangGraph has it; without any it is slow
    if thread.digest:
        notes = {DIGEST: thread.digest, ROUNDS: thread.rounds}
        if _KEEPS_NOTES:  # LangChain merges a config's metadata ten times and more in each leg
            link.notes = notes
        else:
            metadata |= notes
    config["metadata"] = metadata
    return config  # type: ignore[return-value]
