"""Behaviours on a good day: answers, item forms, sizes, bills, event loops."""

import asyncio

import orjson
from langchain_core.messages import AIMessage

from batch_bridge._core.json.messages import decode, has_messages
from batch_bridge._core.models import Errored, Outcome, Succeeded
from batch_bridge._core.policy.flush_policy import FlushPolicy
from batch_bridge.errors import RequestRefused
from batch_bridge.testing.conformance._behaviour import expect
from batch_bridge.testing.conformance._bench import Bench
from batch_bridge.testing.conformance._drive import Drive, ask, requests


def own(bench: Bench, outcomes: list[Outcome]) -> None:
    """Expect that each question has its own answer."""
    for n, outcome in enumerate(outcomes):
        expect(isinstance(outcome, Succeeded), f"question {n} ended as {outcome!r}, not with an answer")
        answers = isinstance(outcome, Succeeded) and bench.subject.answers(n, outcome.answer)
        expect(answers, f"question {n} got another one's answer: {outcome!r}")


async def own_answers(bench: Bench) -> None:
    """Twenty questions, asked at once."""
    own(bench, await bench.ask(bench.asked(20)))


async def forms(bench: Bench) -> None:
    """Each form of item; where it holds LangChain messages, the answer is one."""
    items = list(bench.subject.forms)
    outcomes = await bench.ask(requests(items))
    for item, outcome in zip(items, outcomes, strict=True):
        expect(isinstance(outcome, Succeeded), f"the item {item!r} ended as {outcome!r}")
        if has_messages(item) and isinstance(outcome, Succeeded):
            answer = decode(outcome.answer)
            expect(isinstance(answer, AIMessage), f"the item {item!r} holds messages, and was answered {answer!r}")


async def bad_item(bench: Bench) -> None:
    """One that cannot be sent, between two that can."""
    asked = requests([bench.subject.item(0), bench.subject.bad, bench.subject.item(1)])
    try:
        bench.provider.measure(asked[1])
    except RequestRefused:
        pass
    else:
        expect(bench.subject.bad is None, f"measure() takes {bench.subject.bad!r}, which cannot be sent")
        return
    first, bad, last = await bench.ask(asked)
    own(bench, [first, last])
    expect(isinstance(bad, Errored) and bad.code == "invalid_item", f"{bench.subject.bad!r} ended as {bad!r}")


async def many_batches(bench: Bench) -> None:
    """Seven questions in batches of three."""
    drive = await bench.drive(asked := bench.asked(7), policy=FlushPolicy(max_requests=3))
    own(bench, await drive.settle(asked))
    closed = await drive.closed()
    expect(sorted(each.requests for each in closed) == [1, 3, 3], f"the batches were {closed!r}")


async def event_loops(bench: Bench) -> None:
    """One provider in two event loops, one after the other, in threads of their own."""

    async def once() -> None:
        own(bench, await ask(bench.provider, bench.asked(2)))
        await bench.provider.aclose()

    for _ in range(2):
        await asyncio.to_thread(asyncio.run, once())


async def closed(bench: Bench) -> None:
    """A provider that was closed opens again when it is used."""
    own(bench, await bench.ask(bench.asked(2)))
    await bench.provider.aclose()
    own(bench, await bench.ask(bench.asked(2)))


async def another_process(bench: Bench) -> None:
    """What one process has submitted another one polls; all it has is the ledger, whose rows are JSON."""
    drive = await bench.drive(asked := bench.asked(3))
    await drive.tick()
    for batch in await drive.ledger.open_batches():
        kept = batch[0].prepared if isinstance(batch, tuple) else batch.handle
        expect(orjson.loads(orjson.dumps(kept)) == kept, f"{kept!r} is not what JSON makes of it")
    drive = Drive(bench.another(), store=drive.store)
    await drive.start(asked)
    own(bench, await drive.settle(asked))


async def release(bench: Bench) -> None:
    """A settled batch may be released, and even cancelled, again."""
    drive = await bench.drive(asked := bench.asked(2))
    own(bench, await drive.settle(asked))
    for batch in await drive.closed():
        for _ in range(2):
            await bench.provider.release(batch.handle)
            await bench.provider.cancel(batch.handle)


async def sizes(bench: Bench) -> None:
    """`measure` returns the size that is sent."""
    items = [bench.subject.item(n) for n in range(5)]
    asked = requests([*items, *filter(has_messages, bench.subject.forms)])
    measured = sum(bench.provider.measure(each).bytes for each in asked)
    drive = await bench.drive(asked)
    await drive.settle(asked)
    batches = len(await drive.closed())
    told, seen = measured + batches * bench.subject.frame, bench.subject.stats.input_bytes
    expect(told == seen, f"measure() says {told:,} bytes in {batches} batches, and the server was sent {seen:,}")


async def usage(bench: Bench) -> None:
    """The tokens of a batch are those that the server has billed."""
    drive = await bench.drive(asked := bench.asked(6))
    await drive.settle(asked)
    stats, bills = bench.subject.stats, [batch.usage for batch in await drive.closed()]
    seen = (stats.input_tokens, stats.output_tokens)
    told = tuple(sum(getattr(each, name, 0) for each in bills) for name in ("input_tokens", "output_tokens"))
    expect(told == seen, f"{len(bills)} batches were billed {told}, and the server has billed {seen}")
    expect(all(each is not None and each.model for each in bills), f"a bill names no model: {bills!r}")
