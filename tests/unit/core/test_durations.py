"""Durations: one parser, wherever one is taken."""

import asyncio
from datetime import timedelta
from tempfile import TemporaryDirectory

import pytest
from langgraph.store.memory import InMemoryStore

from batch_bridge import Batcher, Bridge, Deadline, FlushPolicy, ResponseCache
from batch_bridge._core.durations import LONGEST, duration, parse
from batch_bridge.jobs import Jobs
from batch_bridge.providers.openai import OpenAIBatch


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ("30s", 30),
        ("90m", 5400),
        ("1h 30m", 5400),
        ("7d", 604800),
        ("250ms", 0.25),
        (" 1.5h ", 5400),
        (5, 5),
        (0.5, 0.5),
    ],
)
def test_what_is_a_duration(given, seconds):
    assert parse(given) == timedelta(seconds=seconds)


@pytest.mark.parametrize("given", ["", "soon", "30", "-5s", "5 s 3", True, None, float("nan"), [], "1y"])
def test_what_is_none(given):
    assert parse(given) is None


def test_what_no_clock_can_count_is_too_long():
    assert parse(float("inf")) == timedelta.max
    with pytest.raises(ValueError, match="ten years"):
        duration("4000d")
    assert duration("3650d") == LONGEST


def bridge(**options):
    return Bridge(submit=lambda items: items, poll=lambda handle: None, **options)


def durable(retention):
    with (
        TemporaryDirectory() as folder,
        Batcher(submit_func=lambda items: items, poll_func=list, path=f"{folder}/b.db", retention=retention) as batcher,
    ):
        return batcher


TAKERS = {
    "max_age": lambda given: FlushPolicy(max_age=given).max_age,
    "max_idle": lambda given: FlushPolicy(max_idle=given).max_idle,
    "poll_interval": lambda given: bridge(poll_interval=given).poll_interval,
    "linger": lambda given: timedelta(seconds=bridge(linger=given).linger),
    "deadline": lambda given: bridge(deadline=given).deadline,
    "within": lambda given: bridge(deadline=Deadline(within=given)).deadline,
    "retention": lambda given: bridge(retention=given)._retention,
    "poll_patience": lambda given: bridge(poll_patience=given)._settings.poll_patience,
    "cache": lambda given: timedelta(seconds=ResponseCache(InMemoryStore(), ttl=given)._ttl),
    "batcher": lambda given: durable(given)._worker._retained._period,
    "files": lambda given: OpenAIBatch(model="m", files_expire_after=given)._settings.files_expire_after,
}


@pytest.mark.parametrize("taker", TAKERS.values(), ids=TAKERS)
def test_text_is_taken_wherever_a_duration_is(taker):
    assert taker("90m") == taker(5400) == taker(timedelta(minutes=90)) == timedelta(minutes=90)
    with pytest.raises(TypeError, match=r"is not a duration; pass a timedelta, seconds, or text such as"):
        taker("soon")


def test_a_batcher_and_jobs_take_text(tmp_path):
    with Batcher(
        submit_func=lambda items: items, poll_func=list, max_batch_age="10ms", poll_interval="10ms", give_up_after="1h"
    ) as batcher:
        assert batcher.submit("a", deadline="1h") == "a"
    jobs = Jobs(tmp_path / "jobs.db", bridge(), patience="1m")
    with pytest.raises(TypeError, match="'soon'"):
        asyncio.run(jobs.ajoin("job_1", timeout="soon"))
