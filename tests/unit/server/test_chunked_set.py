"""`ChunkedSet`: whatever is added and removed, it equals a dict, and so does what another process reads."""

import asyncio

from fakes import Crash, FakeStore, Fuse
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from batch_bridge._server.chunked_set import ChunkedSet

NAMESPACE = ("batch_bridge", "b", "queue")
keys = st.lists(st.sampled_from([f"k{n}" for n in range(12)]), max_size=6)


class PiecesMachine(RuleBasedStateMachine):
    """Adds, removes, reloads, and another process that continues."""

    def __init__(self) -> None:
        super().__init__()
        self.store = FakeStore()
        self.chunked = ChunkedSet(self.store, NAMESPACE, entries=3)
        self.model: dict[str, int] = {}
        self.count = 0

    @rule(names=keys)
    def add(self, names) -> None:
        entries = {}
        for name in names:
            self.count += 1
            entries[name] = self.count
        asyncio.run(self.chunked.add(entries))
        for name, value in entries.items():
            self.model.setdefault(name, value)

    @rule(names=keys)
    def remove(self, names) -> None:
        asyncio.run(self.chunked.remove(names))
        for name in names:
            self.model.pop(name, None)

    @rule()
    def go_on_elsewhere(self) -> None:
        self.chunked = ChunkedSet(self.store, NAMESPACE, entries=3)
        asyncio.run(self.chunked.load())

    @invariant()
    def equals_the_model(self) -> None:
        other = ChunkedSet(self.store, NAMESPACE, entries=3)
        asyncio.run(other.load())
        for chunked in (self.chunked, other):
            assert dict(chunked.items()) == self.model
            assert len(chunked) == len(self.model)
            assert set(chunked) == set(self.model)
            assert all(name in chunked and chunked.get(name) == value for name, value in self.model.items())

    @invariant()
    def no_piece_is_too_long_or_empty(self) -> None:
        rows = self.store.read().get("queue", {}).values()
        assert all(1 <= len(row["entries"]) <= 3 for row in rows)


TestPieces = PiecesMachine.TestCase


@given(first=keys, second=keys, gone=keys, moment=st.sampled_from(["before", "middle", "after"]))
def test_a_crash_within_a_write_leaves_what_was_there_or_what_was_to_be(first, second, gone, moment) -> None:
    async def run() -> None:
        for change, names in (("add", second), ("remove", gone)):
            store = FakeStore(fuse=Fuse())
            chunked = ChunkedSet(store, NAMESPACE, entries=3)
            await chunked.add(dict.fromkeys(first, 1))
            before = set(first)
            store.fuse.arm(1, moment)
            try:
                await (chunked.add(dict.fromkeys(names, 2)) if change == "add" else chunked.remove(names))
            except Crash:
                pass
            store.fuse.revive()
            other = ChunkedSet(store, NAMESPACE, entries=3)
            await other.load()
            after = before | set(names) if change == "add" else before - set(names)
            assert min(before, after, key=len) <= set(other) <= max(before, after, key=len)
            assert all(other.get(name) == 1 for name in before & set(other))

    asyncio.run(run())


class SlowFirst(FakeStore):
    """A store whose first write is overtaken by those after it, if nobody waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self.writes = 0

    async def abatch(self, ops):
        self.writes += 1
        for _ in range(20 if self.writes == 2 else 0):
            await asyncio.sleep(0)
        return await super().abatch(ops)


async def test_an_older_state_of_a_piece_never_lands_on_a_newer_one() -> None:
    store = SlowFirst()
    chunked = ChunkedSet(store, NAMESPACE, entries=3)
    await chunked.add({f"{n}a" * 16: n for n in range(3)})
    await asyncio.gather(*(chunked.remove([f"{n}a" * 16]) for n in range(3)))
    other = ChunkedSet(store, NAMESPACE, entries=3)
    await other.load()
    assert not list(other.items())
