"""The engine's state machine with a cache and `dedupe`: whatever happens, no key is in a batch twice.

The laws of `test_engine_machine` hold for every request, whether it is a line, shares one, or was answered by the cache.
"""

from collections import defaultdict

import sampling
import test_engine_machine as plain
from fakes import Fuse, guarded
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant

from batch_bridge._core.models import Request, Succeeded
from batch_bridge._engine import Engine, EngineSettings
from batch_bridge._engine.deduplication import Deduplication
from batch_bridge._ledger.ledger import Ledger


def content(request: Request) -> str:
    return "{group} {bytes} {kind}".format(**request.item)


class Said(defaultdict):
    """What was said of a request was said of all requests of its content."""

    def __init__(self, asked: dict[str, Request]) -> None:
        super().__init__(list)
        self._asked = asked

    def __getitem__(self, request_id: str):
        request = self._asked.get(request_id)
        return super().__getitem__(request_id if request is None else content(request))


class Provider(plain.WildProvider):
    shared = False

    def identity(self, request: Request) -> bytes:
        return content(request).encode()

    def _check_submission(self, key, requests, prepared):
        row = self._store.read()["members"].get(key, {})
        ids = [each.id for each in requests]
        if self.shared:
            contents = [content(each) for each in requests]
            self._expect(len(set(contents)) == len(contents), f"{key} pays twice for one content")
            sent_ids = [content(self.asked[each]) for each in row.get("ids", ())]
            self._expect(set(contents) == set(sent_ids), f"{key} leaves members without a line")
            self._expect(set(ids) <= set(row.get("ids", ())), f"{key}: members not written first")
        else:
            self._expect(row.get("ids") == ids, f"{key}: members not written first")
        self._expect(len(row.get("keys", ())) == len(row.get("ids", ())), f"{key}: keys not written first")
        # What is left to check is the same as before, once the requests are those that were sent.
        read = self._store.read
        try:
            self._store.read = lambda: _with_members(read(), key, ids)
            super()._check_submission(key, requests, prepared)
        finally:
            self._store.read = read


def _with_members(rows, key, ids):
    if key in rows["members"]:
        rows["members"][key] = {**rows["members"][key], "ids": ids}
    return rows


class Memory:
    """A cache that outlives every process, and forgets when it likes."""

    def __init__(self, fuse: Fuse) -> None:
        self.fuse = fuse
        self.answers: dict[str, object] = {}

    async def recall(self, keys, now, *, again=False):
        async def find():
            return {key: self.answers[key] for key in keys if key in self.answers}

        return await guarded(self.fuse, "recall", find)

    async def remember(self, answers, now):
        async def keep():
            if len(self.answers) > 6:
                self.answers.clear()
            self.answers.update(answers)

        await guarded(self.fuse, "remember", keep)


class SharingMachine(plain.EngineMachine):
    @initialize(
        policy=st.sampled_from(plain.POLICIES),
        limits=st.sampled_from(plain.LIMITS),
        searchable=st.sampled_from([True, True, False]),
        kind=st.sampled_from(["both", "both", "cache", "dedupe"]),
        attempts=st.sampled_from([1, 3]),
    )
    def begin(self, policy, limits, searchable, attempts, kind) -> None:
        self.kind = kind
        self.memory = None
        super().begin(policy, limits, searchable, attempts)

    def boot(self, *, fresh: bool = True) -> None:
        if not isinstance(self.provider, Provider):  # the first time
            most = self.provider._most
            self.provider = Provider(self.provider.limits, most, self.store, searchable=self.provider._searchable)
            self.provider.said = Said(self.provider.asked)
            self.provider.shared = self.kind != "cache"
            self.memory = Memory(self.fuse) if self.kind != "dedupe" else None
        self.fuse.revive()
        if fresh:
            deduplication = Deduplication(plain.NAME, self.provider, self.memory, dedupe=self.provider.shared)
            ledger = Ledger(self.store, plain.NAME, chunk=2)
            self.last = Engine(
                plain.NAME,
                self.provider,
                self.policy,
                ledger,
                EngineSettings(poll_interval=plain.INTERVAL, deduplication=deduplication, attempts=self.attempts),
            )
        self.engine = self.last
        self.run(self.engine.open(self.now))
        self.due = None

    @invariant()
    def the_cache_holds_answers_that_were_given(self) -> None:
        if self.memory is None:
            return
        key_of = Deduplication(plain.NAME, self.provider, None, dedupe=True).key
        known = {key_of(each): each for each in self.provider.asked.values()}
        for key, answer in self.memory.answers.items():
            said = self.provider.said[known[key].id]
            self.expect(Succeeded(answer) in said, f"the cache holds what nobody said: {answer}")


TestSharing = SharingMachine.TestCase
TestSharing.settings = settings(
    max_examples=sampling.many(200, 20),
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
