"""Clients whose headers change from call to call: they share a batch, and are not an engine for each."""

import asyncio
import itertools
import logging
import sys
import threading
from types import ModuleType

import anthropic
import pytest
from helpers import one_node, within
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import AIMessage
from langchain_openai import ChatOpenAI
from openai import AsyncOpenAI

from batch_bridge import Bridge, Runner, wrap_openai
from batch_bridge._dropin.openai import shared_state as _shared_state
from batch_bridge.errors import UnsupportedCallError
from batch_bridge.langchain import _anthropic, _openai, batched
from batch_bridge.providers.anthropic._clients import _place as anthropic_place
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.providers.openai._clients import _place as openai_place
from batch_bridge.providers.openai._clients import identity_of
from batch_bridge.testing import BatchServer

FRESH = map(str, itertools.count())


@pytest.fixture(scope="module")
def server():
    with BatchServer(latency=0) as server:
        yield server


@pytest.fixture
async def plain(server):
    async with AsyncOpenAI(base_url=server.base_url, api_key="test") as client:
        yield client


def ask(client, question=None, **options):
    messages = [{"role": "user", "content": question or f"question {next(FRESH)}"}]
    return client.chat.completions.create(model="gpt-4o-mini", messages=messages, **options)


def desks():
    return [each for each in threading.enumerate() if each.name.startswith("batcher ")]


async def test_copies_that_differ_in_what_decides_nothing_share_a_batch_and_an_engine(plain, server):
    before, running = server.stats, len(desks())
    async with wrap_openai(plain, poll_interval=0.05) as client:
        copies = [client.with_options(default_headers={"X-Request-Id": next(FRESH)}) for _ in range(6)]
        calls = [ask(copy, extra_headers={"traceparent": next(FRESH)}) for copy in copies]
        waiting = asyncio.gather(*calls)
        await asyncio.sleep(0)
        await within(waiting)
        assert len(desks()) <= running + 1
    assert (server.stats.batches, server.stats.requests) == (before.batches + 1, before.requests + 6)


def open_batchers(client):
    return [asker for asker in client._batch_bridge._askers.values() if asker.is_open]


async def test_copies_for_many_accounts_do_not_leave_an_engine_each(plain, server, caplog):
    async with wrap_openai(plain, poll_interval=0.05, flush=_shared_state.FlushPolicy(max_idle=0.01)) as client:
        client._batch_bridge._most_open = 2
        copies = [client.with_options(default_headers={"X-Tenant": next(FRESH)}) for _ in range(4)]
        for copy in [*copies, copies[0]]:
            assert (await within(ask(copy))).choices
        assert len(open_batchers(client)) == 2
        assert not caplog.records
        await within(asyncio.gather(*map(ask, copies)))  # all of them are busy: none is ended, and it is said
    assert [each.levelno for each in caplog.records if "copies of a client" in each.message] == [logging.WARNING]


async def test_copies_for_many_accounts_share_one_thread_also_while_all_of_them_wait(plain):
    running, threads = len(desks()), threading.active_count()
    async with wrap_openai(plain, poll_interval=0.05, flush=_shared_state.FlushPolicy(max_idle=3600)) as client:
        copies = [client.with_options(default_headers={"X-Tenant": next(FRESH)}) for _ in range(30)]
        waiting = [asyncio.create_task(ask(copy)) for copy in copies]
        while len(open_batchers(client)) < len(copies):
            await asyncio.sleep(0)
        assert len(desks()) <= running + 1
        assert threading.active_count() <= threads + 12  # with the pools that open them
        for each in waiting:
            each.cancel()
        await asyncio.wait(waiting)


async def test_a_thread_is_started_anew_once_it_has_ended(plain):
    before = set(desks())
    wrapped = wrap_openai(plain, poll_interval=0.05, flush=_shared_state.FlushPolicy(max_idle=0.01))
    for _ in range(2):
        assert (await within(ask(wrapped))).choices
        (thread,) = set(desks()) - before
        await wrapped._batch_bridge.asker(identity_of(plain), plain).aclose()
        await asyncio.to_thread(thread.join, 5)
        assert not thread.is_alive()


async def test_an_account_of_a_calls_own_is_refused_or_asked_at_once(plain, server):
    headers = {"OpenAI-Organization": "another"}
    with pytest.raises(UnsupportedCallError, match=r"openai-organization.*with_options\(organization=…\)"):
        await ask(wrap_openai(plain), extra_headers=headers)
    before = server.stats
    assert (await ask(wrap_openai(plain, unsupported="realtime"), extra_headers=headers)).choices
    assert server.stats.realtime == before.realtime + 1


async def test_in_a_node_no_word_of_headers_that_decide_nothing(plain, caplog):
    client = wrap_openai(plain.with_options(default_headers={"X-Request-Id": "a", "User-Agent": "mine"}))

    async def node(state):
        return {
            "out": [
                (await ask(client, "the same", extra_headers={"User-Agent": next(FRESH)})).choices[0].message.content
            ]
        }

    async with Runner(one_node(node), Bridge(OpenAIBatch(plain), poll_interval=0.05)) as runner:
        (result,) = await within(runner.abatch([{}]))
    assert result["out"]
    assert not [each for each in caplog.records if "headers" in each.message]


def test_where_a_client_sends_is_the_same_place_with_other_trace_ids():
    """So a batch in flight, or an answer in a cache, is found again by the next process."""
    for place, kind in ((openai_place, AsyncOpenAI), (anthropic_place, anthropic.AsyncAnthropic)):
        one, other, decided = (
            place(kind(api_key="k", base_url="http://x", default_headers=headers))
            for headers in ({"X-Request-Id": "1"}, {"X-Request-Id": "2"}, {"X-Tenant": "a"})
        )
        assert one == other != decided


async def test_langchains_models_pass_them_too_and_share_a_batcher(server):
    for vendor, make in ((_openai, ChatOpenAI), (_anthropic, ChatAnthropic)):
        one, other, decided = (
            vendor.identity(make(model="m", api_key="k", default_headers=headers))
            for headers in ({"X-Request-Id": "1"}, {"X-Request-Id": "2"}, {"X-Tenant": "a"})
        )
        assert one == other != decided
    model = batched(ChatOpenAI(model="gpt-4o-mini", base_url=server.base_url, api_key="test"), max_idle=0.01)
    answer = await within(model.ainvoke("hi", extra_headers={"X-Request-Id": "1", "User-Agent": "mine"}))
    assert isinstance(answer, AIMessage)


# -- instructor, which needs another jiter than the newest openai: by what it does, where it is not installed --------------


class IncompleteOutputException(Exception):
    def __init__(self, *args, last_completion):
        raise AssertionError


class InstructorRetryException(Exception):
    pass


async def test_an_interrupt_passes_instructors_retries(plain, monkeypatch):
    errors = ModuleType("instructor.v2.core.errors")
    errors.IncompleteOutputException = IncompleteOutputException
    monkeypatch.setitem(sys.modules, errors.__name__, errors)
    client = wrap_openai(plain)

    async def retried(call):
        try:
            return await call
        except IncompleteOutputException:
            raise
        except Exception as error:
            raise InstructorRetryException from error

    async def node(state):
        answer = await retried(ask(client, "the same"))
        return {"out": [answer.choices[0].message.content]}

    async with Runner(one_node(node), Bridge(OpenAIBatch(plain), poll_interval=0.05)) as runner:
        (result,) = await within(runner.abatch([{}]))
    assert result["out"]
