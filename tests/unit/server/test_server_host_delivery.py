"""What a bridge on a server reads of a thread, and what it does about its outcomes."""

from dataclasses import replace
from datetime import timedelta

import pytest
from fakes import T0, FakeStore, at
from hosted import key_ring
from hypothesis import given
from hypothesis import strategies as st

from batch_bridge._core.models import Errored, Succeeded
from batch_bridge._core.payload.interrupt_payload import Asked, interrupt_value, read_envelope, to_json
from batch_bridge._node.platform.inbox import digest_asks
from batch_bridge._server.delivery_policy import MOST_DELIVERIES, Delivery, Verdict, due, judge, resume_map
from batch_bridge._server.lease import Lease
from batch_bridge._server.threads.claims import claim, unclaim
from batch_bridge._server.threads.view import ParkedWait, ThreadView, see
from batch_bridge.errors import ProviderUnavailable

RUN = "0199f9a5-0f2c-7c3e-8f3e-2f6f1f3c9d11"


def parked(address: str, *asks: str) -> ParkedWait:
    """An interrupt; `x` asks bridge `b`, `other:x` another one."""
    asked = [Asked(each.rpartition(":")[2], each.rpartition(":")[0] or "b", None) for each in asks]
    return ParkedWait(address, "task", tuple(asked), "")


def seen(*interrupts: ParkedWait, **settings) -> ThreadView:
    plain = ThreadView("t", "agent", busy=False, failed=False, ended=False, parked=interrupts, config={})
    return replace(plain, **settings)


def delivery(*ids: str, **settings) -> Delivery:
    return Delivery("t", T0, set(ids), **settings)


@pytest.mark.parametrize(
    ("held", "thread", "verdict", "read"),
    [
        (delivery("x"), None, Verdict.GONE, set()),
        (delivery("x"), seen(failed=True), Verdict.READ, {"x"}),
        (delivery("x"), seen(ended=True), Verdict.READ, {"x"}),
        (delivery("x"), seen(), Verdict.READ, {"x"}),  # a human's interrupt alone is none of ours
        (delivery("x"), seen(parked("i", "y")), Verdict.READ, {"x"}),
        (delivery("x"), seen(parked("i", "other:x")), Verdict.READ, {"x"}),
        (delivery("x"), seen(parked("i", "x")), Verdict.SEND, set()),
        (delivery("x", "z"), seen(parked("i", "x")), Verdict.SEND, {"z"}),
        (delivery("x"), seen(parked("i", "x", "y")), Verdict.LATER, set()),
        (delivery("x"), seen(parked("i", "x", "other:y")), Verdict.SEND, set()),
        (delivery("x"), seen(parked("i", "x", "y"), parked("j", "x")), Verdict.SEND, set()),
        (delivery("x"), seen(parked("i", "x"), busy=True), Verdict.LATER, set()),
        (delivery("x"), seen(busy=True), Verdict.LATER, set()),
        (delivery("x", busy_since=at(-60)), seen(parked("i", "x"), busy=True), Verdict.CHECK, set()),
        (delivery("x", deliveries=MOST_DELIVERIES), seen(parked("i", "x")), Verdict.GIVE_UP, set()),
        (delivery("x", deliveries=MOST_DELIVERIES), seen(ended=True), Verdict.READ, {"x"}),
    ],
)
def test_what_becomes_of_a_letter(held, thread, verdict, read) -> None:
    assert judge(held, thread, "b", T0) == (verdict, read)


def test_a_thread_that_rests_is_busy_anew_later() -> None:
    held = delivery("x")
    judge(held, seen(busy=True), "b", T0)
    judge(held, seen(parked("i", "x")), "b", at(60))
    assert judge(held, seen(busy=True), "b", at(61))[0] is Verdict.LATER


def test_pauses_grow_up_to_a_minute_and_news_ends_them() -> None:
    held = delivery("x")
    dues = []
    for _ in range(8):
        held.put_off(T0)
        dues.append((held.due - T0).total_seconds())
    assert dues == [2, 4, 8, 16, 32, 60, 60, 60]
    held.hasten(at(5))
    assert (held.due, held.pause) == (at(5), timedelta(seconds=2))


ids = st.lists(st.sampled_from(["a", "b", "c", "other:a", "other:d"]), min_size=1, max_size=4, unique=True)


@given(asks=st.lists(ids, max_size=4), settled=st.sets(st.sampled_from("abcd")))
def test_only_what_is_asked_of_us_and_settled_is_sent_and_each_interrupt_once(asks, settled) -> None:
    thread = seen(*(parked(f"i{n}", *some) for n, some in enumerate(asks)))
    answered = due(thread, "b", settled)
    outcomes = {each: Succeeded(each) for each in settled}
    sent = resume_map(answered, "b", outcomes)
    for n, some in enumerate(asks):
        ours = {each for each in some if ":" not in each}
        if ours and ours <= settled:
            assert read_envelope(sent[f"i{n}"]) == {each: Succeeded(each) for each in ours}
        else:
            assert f"i{n}" not in sent


def test_a_failure_travels_too() -> None:
    failed = Errored("no", code="c", status_code=400)
    sent = resume_map([parked("i", "x")], "b", {"x": failed})
    assert read_envelope(sent["i"]) == {"x": failed}


@pytest.mark.parametrize(
    ("status", "flags"),
    [
        ("idle", (False, False, False)),  # a run that was cancelled early leaves its thread parked
        ("busy", (True, False, False)),
        ("error", (False, True, False)),
        ("interrupted", (False, False, False)),
    ],
)
def test_a_thread_is_read_with_its_own_interrupts_alone(status, flags) -> None:
    ours = interrupt_value([to_json(Asked("x", "b", "item")), to_json(Asked("y", "c", "item"))], RUN)
    raised = {
        "task-1": [{"id": "i", "value": ours}, {"id": "j", "value": "approve?"}],
        "task-2": [{"interrupt_id": "k", "value": ours}, {"value": ours}],
    }
    thread = see(
        {
            "thread_id": "t",
            "status": status,
            "interrupts": raised,
            "metadata": {"assistant_id": "a"},
            "config": {"recursion_limit": 7, "configurable": {"x": 1}, "tags": []},
            "updated_at": "2020-01-01T00:00:00Z",
        },
        key_ring(),
    )
    assert (thread.busy, thread.failed, thread.ended) == flags
    assert [each.id for each in thread.parked] == ["i", "k"]
    assert [each.origin for each in thread.parked] == [RUN, RUN]
    assert see({"thread_id": "t", "status": status}, key_ring()).ended == (status == "idle")
    assert thread.config == {"recursion_limit": 7}
    assert thread.bridges == {"b", "c"}
    assert [each.id for each in thread.asks("b")] == ["x", "x"]
    assert thread.digests("b") == {digest_asks(["x"])}


def test_a_thread_of_which_little_is_told() -> None:
    thread = see({"thread_id": "t", "status": "idle", "interrupts": None, "metadata": None}, key_ring())
    assert (thread.parked, thread.assistant, thread.config) == ((), "", {})


@given(st.lists(st.text("abc", max_size=3), unique=True), st.randoms())
def test_what_is_asked_has_one_digest_in_any_order(asked, random) -> None:
    shuffled = random.sample(asked, len(asked))
    assert digest_asks(asked) == digest_asks(shuffled)


# -- the lease and the claims ---------------------------------------------------------------------------------------


async def test_a_lease_keeps_a_second_tick_out_and_passes_on_when_the_first_has_ended() -> None:
    store = FakeStore()
    first, second = Lease(store, "b"), Lease(store, "b")
    assert await first.take(at(0)) is False
    assert await second.take(at(1)) is None
    assert await first.is_held()
    await first.end(at(2))
    assert await first.take(at(3)) is True
    await first.end(at(4))
    assert await second.take(at(5)) is False
    assert not await first.is_held()
    assert await first.take(at(6)) is None
    with pytest.raises(ProviderUnavailable, match="taken over"):
        await first.check()
    await second.check()


async def test_a_lease_of_a_process_that_died_runs_out_and_its_owner_learns_of_it() -> None:
    store = FakeStore()
    first, second = Lease(store, "b"), Lease(store, "b")
    await first.take(at(0))
    assert await second.take(at(19)) is None
    assert await first.renew(at(15))
    assert await second.take(at(34)) is None
    assert await second.take(at(36)) is False
    assert not await first.renew(at(37))
    await first.end(at(38))  # it has nothing to end
    assert await second.is_held()
    await second.end(at(39))
    assert await first.take(at(40)) is False  # and remembers nothing


async def test_leases_of_two_bridges_have_nothing_to_do_with_each_other() -> None:
    store = FakeStore()
    assert await Lease(store, "b").take(T0) is False
    assert await Lease(store, "c").take(T0) is False


async def test_of_two_claims_on_a_thread_one_holds_at_most() -> None:
    store = FakeStore()
    assert await claim(store.rows, "t", "b", T0)
    assert await claim(store.rows, "t", "b", T0)
    assert not await claim(store.rows, "t", "c", T0)
    assert await claim(store.rows, "u", "c", T0)
    await unclaim(store.rows, "t", "b")
    assert await claim(store.rows, "t", "c", T0)
    assert not await claim(store.rows, "t", "b", at(59))
    assert await claim(store.rows, "t", "b", at(61))  # its owner has died
