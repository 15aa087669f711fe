"""Turns between tenants, and limits on what each of them may have waiting. Counted in requests and batches, not in seconds."""

from collections import Counter, deque
from dataclasses import replace

import pytest
from fakes import T0, FakeProvider, FakeStore, at, ended, request
from hypothesis import given
from hypothesis import strategies as st

from batch_bridge import Bridge, FlushPolicy, TenantLimits
from batch_bridge._core.models import Errored, Limits, Measure
from batch_bridge._core.outcomes import to_error
from batch_bridge._core.policy.batching import Waiting
from batch_bridge._engine import Engine, EngineSettings
from batch_bridge._engine.waiting.queue import Queue
from batch_bridge._ledger.ledger import Ledger
from batch_bridge._server.records import ServerRecords
from batch_bridge.errors import RequestFailed

MANY, FEW = 2_000, 20


def of(tenant, numbers, **item):
    return [replace(request(n, **item), tenant=tenant) for n in numbers]


def engine(provider, *, batch=100, per_tenant=None, ledger=None, max_age=0, attempts=1):
    return Engine(
        "bridge",
        provider,
        FlushPolicy(max_requests=batch, max_age=max_age),
        ledger or Ledger(FakeStore(), "bridge"),
        EngineSettings(per_tenant=per_tenant, attempts=attempts),
    )


def tenants(provider):
    """Return how many requests of each tenant every batch held, in the order of the batches."""
    return [Counter(each.tenant for each in batch.requests) for batch in provider.batches.values()]


# -- turns ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "limits",
    [
        Limits(batches=1),
        Limits(batches=2),
        Limits(creations_per_hour=1),
        Limits(enqueued_tokens=25),
        Limits(batches=1, enqueued_tokens=25),
    ],
    ids=repr,
)
async def test_few_requests_are_in_the_first_batch_though_many_of_another_waited_before(limits):
    provider = FakeProvider(limits=limits)
    made = engine(provider)
    await made.open(T0)
    await made.collect(of("many", range(MANY)), T0)
    await made.collect(of("few", range(MANY, MANY + FEW)), at(1))
    await made.tick(at(1))
    assert tenants(provider)[0]["few"] == FEW
    assert tenants(provider)[0]["many"] == 80


async def test_the_rest_goes_in_turns_until_all_are_answered():
    provider = FakeProvider(limits=Limits(batches=1))
    made = engine(provider)
    await made.open(T0)
    requests = [*of("a", range(300)), *of("b", range(300, 450)), *of("c", range(450, 500))]
    await made.collect(requests, T0)
    settled = []
    for second in range(1, 12):
        settled += (await made.tick(at(second * 100))).settled
    assert [dict(each) for each in tenants(provider)] == [
        {"a": 34, "b": 33, "c": 33},
        {"a": 41, "b": 42, "c": 17},
        {"a": 50, "b": 50},
        {"a": 75, "b": 25},
        {"a": 100},
    ]
    assert sorted(settled) == sorted(each.id for each in requests)


async def test_a_tenant_that_comes_later_waits_for_no_more_than_one_batch():
    provider = FakeProvider(limits=Limits(batches=1))
    made = engine(provider)
    await made.open(T0)
    await made.collect(of("many", range(MANY)), T0)
    for second in range(5):
        await made.tick(at(second * 100))
    await made.collect(of("few", range(MANY, MANY + FEW)), at(600))
    await made.tick(at(700))
    assert tenants(provider)[5] == {"few": FEW, "many": 80}


async def test_where_there_is_room_for_one_at_a_time_tenants_take_turns_all_the_same():
    provider = FakeProvider(limits=Limits(enqueued_tokens=1), measure=lambda _: Measure("", 4000))
    made = engine(provider)
    await made.open(T0)
    await made.collect([*of("a", range(4)), *of("b", range(4, 8)), *of("c", range(8, 12))], T0)
    for second in range(14):
        await made.tick(at(second * 100))
    assert ["".join(each) for each in tenants(provider)] == list("abcabcabcabc")


async def test_turns_outlive_a_queue_that_is_read_again():
    provider, store = FakeProvider(limits=Limits(batches=1)), FakeStore()
    records = ServerRecords(store, "bridge")
    made = engine(provider, batch=1, ledger=records.ledger)
    for second in range(8):
        await records.load()
        await made.open(at(second * 100))
        if not second:
            await made.collect([*of("a", range(4)), *of("b", range(4, 8))], T0)
        await made.tick(at(second * 100))
    assert ["".join(each) for each in tenants(provider)] == list("abababab")


async def test_a_large_request_takes_more_than_one_turn():
    sizes = {"large": 163_840, "small": 100}
    provider = FakeProvider(
        limits=Limits(enqueued_tokens=100_000), measure=lambda each: Measure("", sizes[each.tenant])
    )
    made = engine(provider)
    await made.open(T0)
    await made.collect([*of("large", range(50)), *of("small", range(50, 70))], T0)
    await made.tick(T0)
    assert tenants(provider)[0] == {"small": FEW, "large": 2}


async def test_no_group_of_one_tenant_gives_it_more_turns():
    """Who spreads its requests over many models gets no more slots for that than who uses one."""
    provider = FakeProvider(limits=Limits(batches=100), measure=lambda each: Measure(str(each.item["m"]), 1))
    made = engine(provider, batch=1)
    await made.open(T0)
    many = [each for n in range(200) for each in of("many", [n], m=n % 50)]
    await made.collect([*many, *of("few", range(200, 220), m="x")], T0)
    await made.tick(T0)
    assert sum(each["few"] for each in tenants(provider)) == FEW


async def test_with_one_tenant_the_oldest_go_first():
    provider = FakeProvider(limits=Limits(batches=1))
    made = engine(provider)
    await made.open(T0)
    requests = of("", range(300))
    await made.collect(requests, T0)
    for second in range(5):
        await made.tick(at(second * 100))
    assert [each.id for batch in provider.batches.values() for each in batch.requests] == [each.id for each in requests]


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from("gh"), st.sampled_from([1, 20_000, 90_000])), max_size=40
    ),
    st.lists(st.integers(0, 9), max_size=30),
    st.data(),
)
def test_nothing_is_lost_and_the_order_within_a_tenant_is_kept(waiting, counts, data):
    queue = Queue(T0)
    model = [Waiting(str(n), group, size, at(n), tenant=whose) for n, (whose, group, size) in enumerate(waiting)]
    for each in model:
        queue.add(each)
    sent = []
    for count in [*counts, len(model)]:
        picked = queue.pick(count)
        assert picked == queue.pick(count)
        assert not picked or picked[0] in [queue.head(group) for group in queue.groups]
        queue.flushed(T0, picked)
        kept = data.draw(st.integers(0, len(picked)))
        for each in picked:
            assert queue.discard(each.id)
        queue.put_back(picked[kept:])
        sent += picked[:kept]
        assert sum(queue.held(each)[0] for each in "abc") == len(queue) == len(model) - len(sent)
        assert sum(queue.held(each)[1] for each in "abc") == queue.summary(T0).bytes
        assert queue.size("g") + queue.size("h") == len(queue)
    rest = queue.pick(len(queue))
    for each in rest:
        queue.discard(each.id)
    sent += rest
    assert sorted(sent, key=lambda each: each.queued_at) == model
    assert [queue.held(each) for each in "abc"] == [(0, 0)] * 3
    for whose in "abc":
        assert [each for each in rest if each.tenant == whose] == sorted(
            (each for each in rest if each.tenant == whose), key=lambda each: each.queued_at
        )


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=60), st.lists(st.integers(1, 7), min_size=1, max_size=20))
def test_while_two_tenants_wait_none_is_more_than_a_turn_ahead(owners, counts):
    queue = Queue(T0)
    waiting = {whose: deque() for whose in "abcd"}
    for n, whose in enumerate(owners):
        queue.add(Waiting(str(n), "", 1, at(n), tenant=whose))
        waiting[whose].append(str(n))
    sent = Counter()
    for count in counts:
        busy = {whose for whose in waiting if waiting[whose]}
        picked = queue.pick(count)
        queue.flushed(T0, picked)
        for each in picked:
            queue.discard(each.id)
            assert each.id == waiting[each.tenant].popleft()
            sent[each.tenant] += 1
        still = [sent[whose] for whose in busy if waiting[whose]]
        assert not still or max(still) - min(still) <= 1


# -- limits -----------------------------------------------------------------------------------------------------------


async def refused(made, ids):
    return {each: why for each, why in (await made.outcomes(ids)).items() if isinstance(why, Errored)}


async def test_what_is_over_a_tenants_limit_is_refused_and_harms_no_other():
    provider = FakeProvider(limits=Limits(batches=1))
    made = engine(provider, per_tenant=TenantLimits(requests=100))
    await made.open(T0)
    many, few = of("many", range(MANY)), of("few", range(MANY, MANY + FEW))
    settled = await made.collect([*many[:1990], *few, *many[1990:]], T0)
    assert settled == {each.id for each in many[100:]}
    assert made.queued == 100 + FEW
    why = (await refused(made, [many[100].id]))[many[100].id]
    assert (why.code, why.retryable, why.status_code) == ("tenant_limit", True, None)
    assert why.message == (
        "'many' has 100 requests of 100 bytes waiting in 'bridge', and TenantLimits(requests=100) allows no more; it was "
        "not sent. Ask again once some of them were sent, or raise Bridge(per_tenant=…)"
    )
    error = to_error(many[100].id, why)
    assert isinstance(error, RequestFailed)
    assert error.retryable
    assert await refused(made, [each.id for each in few]) == {}
    await made.tick(T0)
    assert (await made.collect(many[100:180], at(1))) == {each.id for each in many[100:180]}, "settled once"
    assert await made.collect(of("many", range(3000, 3080)), at(1)) == set(), "there is room again"


async def test_bytes_are_limited_too():
    provider = FakeProvider(measure=lambda each: Measure("", each.item["size"]))
    made = engine(provider, per_tenant=TenantLimits(bytes=100), max_age=3600)
    await made.open(T0)
    requests = [of("a", [n], size=size)[0] for n, size in enumerate([60, 50, 40, 1, 101])]
    other = of("b", [9], size=100)[0]
    settled = await made.collect([*requests, other], T0)
    assert settled == {requests[n].id for n in (1, 3, 4)}
    whys = await refused(made, [each.id for each in requests])
    assert "with 50 more it would exceed TenantLimits(bytes=100)" in whys[requests[1].id].message
    assert whys[requests[1].id].retryable
    assert not whys[requests[4].id].retryable
    assert "send a smaller request" in whys[requests[4].id].message


async def test_what_belongs_to_nobody_is_not_limited():
    made = engine(FakeProvider(), per_tenant=TenantLimits(requests=1))
    await made.open(T0)
    assert await made.collect(of("", range(50)), T0) == set()


async def test_what_was_let_in_stays_when_its_batch_comes_to_nothing():
    provider = FakeProvider()
    made = engine(provider, per_tenant=TenantLimits(requests=2), attempts=2)
    await made.open(T0)
    first = of("a", [1, 2])
    await made.collect(first, T0)
    await made.tick(T0)
    assert await made.collect(of("a", [3, 4]), at(1)) == set()
    busy = Errored("busy", status_code=429, retryable=True)
    provider.then("poll", ended({each.id: busy for each in first}))
    await made.advance(at(100))
    assert made.queued == 4
    late = of("a", [5])[0]
    assert await made.collect([late], at(101)) == {late.id}
    settled = (await made.tick(at(102))).settled + (await made.tick(at(200))).settled
    assert len(settled) == 4


async def test_a_process_after_this_one_refuses_nothing_that_was_let_in():
    store, provider = FakeStore(), FakeProvider(limits=Limits(batches=1))
    limits = TenantLimits(requests=50)
    records = ServerRecords(store, "bridge")
    await records.load()
    made = engine(provider, per_tenant=limits, ledger=records.ledger, max_age=3600)
    await made.open(T0)
    held = of("a", range(50))
    assert await made.collect(held, T0) == set()
    records = ServerRecords(store, "bridge")
    await records.load()
    again = engine(provider, per_tenant=limits, ledger=records.ledger, max_age=3600)
    await again.open(at(1))
    assert await again.collect(held, at(1)) == set()
    assert len(await again.collect(of("a", range(50, 60)), at(1))) == 10, "it knows whose those are that wait"


@pytest.mark.parametrize("value", [0, -1, True, 1.5, "many"])
@pytest.mark.parametrize("name", ["requests", "bytes"])
def test_a_limit_that_accepts_nothing_is_refused(name, value):
    with pytest.raises(ValueError, match=rf"TenantLimits\({name}="):
        TenantLimits(**{name: value})


def test_a_bridge_takes_tenant_limits_and_nothing_else():
    Bridge(submit=len, poll=len, per_tenant=TenantLimits(requests=3))
    with pytest.raises(TypeError, match="TenantLimits"):
        Bridge(submit=len, poll=len, per_tenant=3)
