"""Each batch is one span and each figure is counted once, wherever the process dies and however often it is begun again.

Its notice comes once too, through apprise to a real server; each death may double one, which says so then.
"""

import re
from collections import Counter

import pytest
import sampling
from engine_world import IDS, LEDGERS, RATE, REQUESTS, World
from fakes import MOMENTS, Crash
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from inbox import Inbox
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from batch_bridge._core.policy.flush_policy import FlushPolicy
from batch_bridge._engine import Engine, EngineSettings
from batch_bridge._host.batch_notices import BatchNotices
from batch_bridge._host.notify import Board, Notifier
from batch_bridge._server.records import ServerRecords
from batch_bridge.events import Settled
from batch_bridge.otel import Telemetry

PARENT = "00-11111111111111111111111111111111-2222222222222222-01"


@pytest.fixture(autouse=True)
def _nobody_traces_afterwards():
    from batch_bridge._core.payload.trace_context import capture_with

    yield
    capture_with(None)


@pytest.fixture(scope="module")
def inbox():
    with Inbox() as inbox:
        yield inbox


class TracedWorld(World):
    """A world whose processes are traced: each has a `Telemetry` of its own, and all export to one place.

    Their notices go to one place too, where there is an `inbox`.
    """

    def __init__(self, *args, inbox=None, **options):
        super().__init__(*args, **options)
        self.inbox, self.notices, self.deaths = inbox, None, 0
        self.first = len(inbox.posts) if inbox is not None else 0
        self.exporter = InMemorySpanExporter()
        self.told = []
        self.reader = None

    async def boot(self):
        tracers = TracerProvider()
        tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        meters = MeterProvider([self.reader])
        ledger = self.kind(self.store, "bridge", chunk=2)
        if isinstance(ledger, ServerRecords):
            await ledger.load()
            ledger = ledger.ledger
        self.engine = Engine(
            "bridge",
            self.provider,
            FlushPolicy(max_requests=3),
            ledger,
            EngineSettings(attempts=self.attempts, telemetry=Telemetry(tracer_provider=tracers, meter_provider=meters)),
        )
        self.engine.on_event = self.told.append
        if self.inbox is not None:
            self.notices = BatchNotices("bridge", self.engine, Board([Notifier(self.inbox.url)], self.store))
        await self.engine.open(self.now())
        if self.notices is not None:
            await self.notices.open()
        asked = [type(each)(each.id, each.thread, each.item, trace=PARENT) for each in REQUESTS]
        return set(await self.engine.collect(asked, self.now()))

    async def after_tick(self):
        if self.notices is not None:
            await self.notices.send()

    def posts(self):
        """What has arrived of each batch, by the provider's name of it."""
        found = {}
        for post in self.inbox.posts[self.first :]:
            found.setdefault(re.search("name for it: (.+)", post["message"])[1], []).append(post["message"])
        return found

    def spans(self):
        """Spans by id; one that was exported twice is the same both times."""
        found = {}
        for span in self.exporter.get_finished_spans():
            key = (span.context.trace_id, span.context.span_id)
            shown = (span.name, dict(span.attributes), span.start_time, span.end_time, len(span.links))
            assert found.setdefault(key, (span, shown))[1] == shown, "a span that was told again has changed"
        return [span for span, _ in found.values()]

    def counted(self):
        """The counters, by name and outcome."""
        counted = {}
        for resource in self.reader.get_metrics_data().resource_metrics:
            for metric in (each for scope in resource.scope_metrics for each in scope.metrics):
                for point in metric.data.data_points:
                    counted[metric.name, point.attributes.get("batch_bridge.outcome")] = point.value
        return counted


async def check(world):
    """Check that what was told is what the ledger holds."""
    closed = {each.key: each for each in await world.engine.closed_batches()}
    sent = {key for key, batch in closed.items() if batch.handle is not None}
    spans = world.spans()
    batches = [each for each in spans if each.parent is None]
    assert Counter(each.attributes["batch_bridge.batch.key"] for each in batches) == Counter(closed.keys()), "each once"
    for span in batches:
        batch = closed[span.attributes["batch_bridge.batch.key"]]
        assert span.attributes["batch_bridge.batch.requests"] == batch.requests + batch.resubmitted
        assert span.attributes.get("batch_bridge.batch.succeeded", 0) == batch.outcomes.get("succeeded", 0)
        assert len(span.links) == batch.requests + batch.resubmitted
    asked = {(each.context.trace_id, each.context.span_id): each for each in spans if each.parent is not None}
    linked = [(link.context.trace_id, link.context.span_id) for span in batches for link in span.links]
    assert Counter(linked) == Counter(asked.keys()), "a batch's links are the spans of its requests"
    by_id = {each.context.span_id: each for each in batches}
    for span in asked.values():
        (link,) = span.links
        assert (
            by_id[link.context.span_id].attributes["batch_bridge.batch.key"]
            == span.attributes["batch_bridge.batch.key"]
        )
        assert (span.context.trace_id, span.parent.span_id) == (int("1" * 32, 16), int("2" * 16, 16))
    counted, outcomes = world.counted(), Counter()
    for batch in closed.values():
        outcomes.update(batch.outcomes)
    assert counted["batch_bridge.batches", None] == len(sent)
    assert {kind: counted["batch_bridge.requests", kind] for kind in outcomes} == dict(outcomes)
    told = {each.batch for each in world.told if isinstance(each, Settled) and each.ended}
    assert told <= closed.keys(), "an event may be lost, and tells of nothing that is not so"
    assert not await world.engine._state.ledger.traces(), "nothing is left to be told"
    if world.inbox is not None:
        posts = world.posts()
        assert posts.keys() == {batch.handle for batch in closed.values() if batch.handle is not None}
        for told in posts.values():
            assert ["may have come before" in each for each in told] == [False] + [True] * (len(told) - 1)
        assert sum(map(len, posts.values())) <= len(posts) + world.deaths, "a death doubles one notice at most"


async def live_through(world, crashes):
    """Live on through crashes, each at so many calls after the one before."""
    for call, moment in crashes:
        world.fuse.arm(call, moment)
        try:
            await world.live()
        except Crash:
            world.deaths += 1
            world.fuse.revive()
        else:
            break
    world.fuse.revive()
    outcomes = await world.live()
    assert outcomes.keys() == set(IDS)


@pytest.mark.sampled(least=6, most=6)
@pytest.mark.parametrize("ledger", LEDGERS)
@pytest.mark.parametrize("moment", MOMENTS)
async def test_wherever_the_process_dies_each_batch_is_one_span(ledger, moment):
    for call in sampling.calls(f"{ledger.__name__} {moment}"):
        world = TracedWorld(ledger)
        world.fuse.arm(call, moment)
        try:
            await world.live()
        except Crash:
            world.fuse.revive()
            await world.live()
        else:
            assert call > 30
            break
        await check(world)


@settings(
    max_examples=sampling.many(300, 25), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    crashes=st.lists(st.tuples(st.integers(1, 60), st.sampled_from(MOMENTS)), max_size=4),
    moods=st.dictionaries(st.integers(0, 6), st.just((RATE,)), max_size=3),
    ledger=st.sampled_from(LEDGERS),
)
async def test_through_any_crashes_each_fact_is_told_once(inbox, crashes, moods, ledger):
    world = TracedWorld(ledger, moods=moods.items(), inbox=inbox)
    await live_through(world, crashes)
    await check(world)
