"""The realtime provider alone: so many calls at a time, tries, and one outcome for each request."""

import asyncio
import itertools
from collections import Counter

import pytest
from fakes import request
from hypothesis import given, settings
from hypothesis import strategies as st
from virtual import clock, run

from batch_bridge._core.models import Cancelled, Ended, Errored, InProgress, Measure, Succeeded, Usage
from batch_bridge.providers._realtime.provider import Realtime, Reply, TryLater, is_realtime

LATER = Errored("busy", code="rate_limit", status_code=429, retryable=True)


class Vendor:
    """Answers as its script says, item by item, each call taking `seconds`; the last word of a script stays."""

    def __init__(self, script=None, seconds=1.0):
        self.script = script or {}
        self.seconds = seconds
        self.calls = Counter()
        self.times = []
        self.running = self.most = 0
        self.closed = 0

    @classmethod
    def paid(cls, many, **options):
        """One that answers so many requests, each for one token each way."""
        usage = Usage("gpt", 1, 1, 0, realtime=True)
        return cls({number: [Reply(Succeeded(number), usage)] for number in range(many)}, **options)

    async def answer(self, asked):
        number = asked.item["n"]
        self.calls[number] += 1
        self.times.append((number, clock()))
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(self.seconds(number) if callable(self.seconds) else self.seconds)
        finally:
            self.running -= 1
        words = self.script.get(number, [Reply(Succeeded(number))])
        word = words[min(self.calls[number], len(words)) - 1]
        if isinstance(word, BaseException):
            raise word
        return word

    async def close(self):
        self.closed += 1

    def provider(self, **options):
        return Realtime(self.answer, measure=lambda _: Measure("", 1), close=self.close, **options)


async def begin(provider, requests):
    """Submit a batch and start its calls."""
    prepared = await provider.prepare("key", requests)
    handle = await provider.submit("key", requests, prepared)
    return handle, await provider.poll(handle, [each.id for each in requests])


async def end(provider, handle, reply):
    """Poll when there is news until the batch has ended; all that was told early, and the end."""
    early = []
    while isinstance(reply, InProgress):
        early += reply.outcomes
        await reply.news
        reply = await provider.poll(handle, [])
    assert isinstance(reply, Ended)
    return early, [pair async for pair in reply.outcomes], reply


async def settle(provider, requests):
    handle, reply = await begin(provider, requests)
    _, outcomes, ended = await end(provider, handle, reply)
    await provider.release(handle)
    assert len(outcomes) == len(requests)
    found = dict(outcomes)
    return [found[each.id] for each in requests], ended


def asked(count):
    return [request(number) for number in range(count)]


def test_each_request_gets_its_own_answer_and_no_more_run_than_allowed():
    vendor = Vendor()

    async def main():
        outcomes, _ = await settle(vendor.provider(concurrency=8), asked(100))
        assert outcomes == [Succeeded(number) for number in range(100)]
        assert clock() == pytest.approx(13.0)  # 100 calls of one second, eight at a time

    run(main)
    assert vendor.most == 8
    assert set(vendor.calls.values()) == {1}


def test_nothing_is_sent_before_the_first_poll():
    vendor = Vendor()

    async def main():
        provider = vendor.provider()
        prepared = await provider.prepare("key", asked(3))
        handle = await provider.submit("key", asked(3), prepared)
        await asyncio.sleep(60)
        assert is_realtime(prepared)
        assert is_realtime(handle)
        assert await provider.find("key", prepared) == []
        await provider.aclose()

    run(main)
    assert not vendor.calls


def test_outcomes_are_told_as_they_come_and_all_again_at_the_end():
    vendor = Vendor(seconds=lambda number: 100.0 if number == 3 else 1.0)

    async def main():
        provider, requests = vendor.provider(), asked(5)
        handle, reply = await begin(provider, requests)
        assert (reply.done, reply.total, reply.outcomes) == (0, 5, ())
        await reply.news
        reply = await provider.poll(handle, [])
        assert clock() < 2
        assert dict(reply.outcomes) == {each.id: Succeeded(each.item["n"]) for each in requests if each.item["n"] != 3}
        assert (reply.done, reply.total) == (4, 5)
        assert (await provider.poll(handle, [])).outcomes == ()
        _, outcomes, _ = await end(provider, handle, await provider.poll(handle, []))
        assert dict(outcomes) == {each.id: Succeeded(each.item["n"]) for each in requests}
        await provider.release(handle)

    run(main)


def test_a_pause_that_was_asked_for_is_kept_by_all():
    vendor = Vendor({0: [TryLater(LATER, retry_after=40.0), Reply(Succeeded(0))]})

    async def main():
        outcomes, _ = await settle(vendor.provider(concurrency=1), asked(3))
        assert outcomes == [Succeeded(0), Succeeded(1), Succeeded(2)]

    run(main)
    assert vendor.times[0][0] == 0
    assert all(when >= 41.0 for _, when in vendor.times[1:])


def test_a_pause_between_two_tries_holds_no_slot():
    vendor = Vendor({0: [TryLater(LATER)] * 6 + [Reply(Succeeded(0))]})

    async def main():
        await settle(vendor.provider(concurrency=1), asked(5))

    run(main)
    others = [when for number, when in vendor.times if number]
    assert max(others) < max(when for number, when in vendor.times if number == 0)
    assert vendor.calls[0] == 7


def test_the_pauses_grow():
    vendor = Vendor({0: [TryLater(LATER)] * 5 + [Reply(Succeeded(0))]})
    run(lambda: settle(vendor.provider(), asked(1)))
    times = [when for _, when in vendor.times]
    pauses = [later - earlier - 1 for earlier, later in itertools.pairwise(times)]
    assert all(least <= pause <= least + 0.5 for least, pause in zip([0.5, 1, 2, 4, 8], pauses, strict=True))


def test_the_last_refusal_stands_once_the_tries_are_used_up():
    vendor = Vendor({1: [TryLater(LATER)]})

    async def main():
        outcomes, _ = await settle(vendor.provider(attempts=3), asked(3))
        assert outcomes[1] == Errored("busy (tried 3 times)", code="rate_limit", status_code=429, retryable=True)
        assert outcomes[0] == Succeeded(0)
        assert outcomes[2] == Succeeded(2)

    run(main)
    assert vendor.calls[1] == 3


@pytest.mark.parametrize("error", [ValueError("no such thing"), asyncio.CancelledError("from inside")])
def test_a_bug_fails_its_own_request(error):
    vendor = Vendor({1: [error]})

    async def main():
        outcomes, _ = await settle(vendor.provider(), asked(3))
        assert [type(each) for each in outcomes] == [Succeeded, Errored, Succeeded]
        assert outcomes[1].code == ("realtime_failed" if isinstance(error, ValueError) else "realtime_interrupted")

    run(main)
    assert vendor.calls[1] == 1


def test_calls_of_a_process_that_is_gone_are_not_made_again():
    vendor = Vendor()

    async def main():
        handle, _ = await begin(before := vendor.provider(), asked(2))
        await before.aclose()
        reply = await vendor.provider().poll(handle, [each.id for each in asked(2)])
        assert [pair async for pair in reply.outcomes] == []
        assert (reply.missing.code, reply.missing.retryable) == ("realtime_interrupted", True)
        for verb in (vendor.provider().cancel, vendor.provider().release):
            await verb(handle)

    run(main)


def test_cancel_lets_what_is_paid_for_finish():
    vendor = Vendor({0: [TryLater(LATER)]})

    async def main():
        provider, requests = vendor.provider(concurrency=2), asked(6)
        handle, _ = await begin(provider, requests)
        await asyncio.sleep(1.4)  # 0 was refused and pauses, 1 is answered, 2 and 3 are on their way
        await provider.cancel(handle)
        await provider.cancel(handle)
        _, outcomes, _ = await end(provider, handle, await provider.poll(handle, []))
        kinds = {each.item["n"]: type(dict(outcomes)[each.id]) for each in requests}
        assert kinds == {0: Cancelled, 1: Succeeded, 2: Succeeded, 3: Succeeded, 4: Cancelled, 5: Cancelled}
        await provider.release(handle)

    run(main)
    assert vendor.calls == {0: 1, 1: 1, 2: 1, 3: 1}


def test_cancel_before_the_first_call():
    vendor = Vendor()

    async def main():
        provider = vendor.provider()
        handle = await provider.submit("key", asked(3), await provider.prepare("key", asked(3)))
        await provider.cancel(handle)
        _, outcomes, _ = await end(provider, handle, await provider.poll(handle, []))
        assert {type(each) for _, each in outcomes} == {Cancelled}
        assert len(outcomes) == 3

    run(main)
    assert not vendor.calls


def test_closing_in_the_middle_leaves_nothing_behind():
    vendor = Vendor(seconds=3600)

    async def main():
        provider = vendor.provider(concurrency=4)
        room = provider.room
        await begin(provider, asked(6))
        await asyncio.sleep(1)
        assert vendor.running == 4
        assert provider.room == room - 6
        await provider.aclose()
        assert (vendor.running, vendor.closed) == (0, 1)
        assert provider.room == room
        vendor.seconds = 1
        assert (await settle(provider, asked(1)))[0] == [Succeeded(0)]  # it may be used again

    run(main)


def test_room_is_what_may_be_taken_in():
    vendor = Vendor(seconds=lambda number: 1 + number)

    async def main():
        provider = vendor.provider(concurrency=2)
        assert provider.room == 4
        handle, reply = await begin(provider, asked(3))
        assert provider.room == 1
        await reply.news
        assert provider.room == 2
        await end(provider, handle, await provider.poll(handle, []))
        assert provider.room == 4
        await provider.release(handle)
        assert provider.room == 4

    run(main)


def test_usage_is_summed():
    vendor = Vendor({n: [Reply(Succeeded(n), Usage("gpt", 10, n, 1, realtime=True))] for n in range(3)})

    async def main():
        _, ended = await settle(vendor.provider(), asked(3))
        assert ended.usage == Usage("gpt", 30, 3, 3, realtime=True)

    run(main)


def test_two_event_loops_share_a_provider():
    vendor = Vendor()
    provider = vendor.provider(concurrency=2)

    async def main():
        assert (await settle(provider, asked(4)))[0] == [Succeeded(n) for n in range(4)]

    run(main)
    run(main)
    assert vendor.most == 2


def test_another_event_loop_may_go_on_polling():
    """As where each run of a server has a loop of its own, and the first one goes on beside it."""
    vendor, other = Vendor(seconds=0.05), {}
    provider = vendor.provider()

    async def in_another_loop(handle):
        reply = await provider.poll(handle, [])
        while isinstance(reply, InProgress):
            assert reply.news is None
            await asyncio.sleep(0.01)
            reply = await provider.poll(handle, [])
        return dict([pair async for pair in reply.outcomes])

    async def main():
        handle, _ = await begin(provider, asked(5))
        other.update(await asyncio.to_thread(asyncio.run, in_another_loop(handle)))
        await provider.aclose()

    asyncio.run(main())
    assert other == {each.id: Succeeded(each.item["n"]) for each in asked(5)}


def test_a_batch_that_another_loop_has_only_taken_in_is_started_here():
    vendor = Vendor()
    provider = vendor.provider()
    handles = []

    async def take_in():
        handles.append(await provider.submit("key", asked(3), await provider.prepare("key", asked(3))))

    async def main():
        room = provider.room
        _, outcomes, _ = await end(provider, handles[0], await provider.poll(handles[0], []))
        assert len(outcomes) == 3
        assert provider.room == room
        await provider.release(handles[0])

    async def room():
        return provider.room

    with asyncio.Runner() as first:
        before = first.run(room())
        first.run(take_in())
        assert first.run(room()) == before - 3
        run(main)
        assert first.run(room()) == before


def test_calls_of_a_loop_that_was_closed_are_lost():
    provider = Vendor(seconds=60).provider()
    handles = []

    async def main():
        handle, _ = await begin(provider, asked(2))
        handles.append(handle)

    async def after():
        reply = await provider.poll(handles[0], [])
        assert reply.missing.code == "realtime_interrupted"

    asyncio.run(main())
    run(after)


@pytest.mark.parametrize("options", [{"concurrency": 0}, {"concurrency": 1.5}, {"attempts": 0}, {"attempts": True}])
def test_numbers_that_would_ask_nothing_are_refused(options):
    with pytest.raises(ValueError, match="whole number from 1"):
        Vendor().provider(**options)


WORDS = st.sampled_from(
    [
        TryLater(LATER),
        TryLater(LATER, retry_after=3.0),
        Reply(Succeeded("yes")),
        Reply(Errored("no", code="bad", status_code=400)),
        RuntimeError("bug"),
    ]
)


@settings(deadline=None, max_examples=60)
@given(
    scripts=st.lists(st.lists(WORDS, min_size=1, max_size=5), min_size=1, max_size=12),
    concurrency=st.integers(1, 4),
    attempts=st.integers(1, 4),
    seconds=st.lists(st.floats(0.0, 5.0), min_size=12, max_size=12),
)
def test_every_request_ends_with_one_outcome_after_no_more_calls_than_it_needs(scripts, concurrency, attempts, seconds):
    vendor = Vendor(dict(enumerate(scripts)), seconds=lambda number: seconds[number])

    async def main():
        outcomes, _ = await settle(vendor.provider(concurrency=concurrency, attempts=attempts), asked(len(scripts)))
        for number, script in enumerate(scripts):
            final = next((i for i, word in enumerate(script) if not isinstance(word, TryLater)), attempts)
            calls = min(final + 1, attempts)
            assert vendor.calls[number] == calls
            word = script[min(calls, len(script)) - 1]
            match word:
                case Reply(outcome=outcome):
                    assert outcomes[number] == outcome
                case TryLater():
                    assert outcomes[number].code == "rate_limit"
                case _:
                    assert outcomes[number].code == "realtime_failed"

    run(main)
    assert vendor.most <= concurrency
