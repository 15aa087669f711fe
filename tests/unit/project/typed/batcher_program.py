"""What a type checker knows of a Batcher and of a wait: the answer's type, where it follows from what is given."""

from concurrent.futures import Future
from typing import Any, assert_type

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from openai import AsyncOpenAI

from batch_bridge import Batcher, Bridge, Deadline, wait, wait_many, wait_sync, wrap_openai
from batch_bridge.errors import BatchBridgeError
from batch_bridge.providers.openai import OpenAIBatch


def submit(items: list[str]) -> list[str]:
    return items


def poll(handle: list[str]) -> list[int | Exception] | None:
    return [len(item) for item in handle]


def main() -> None:
    with Batcher(submit_func=submit, poll_func=poll, max_batch_age="10ms", poll_interval="10ms") as batcher:
        assert_type(batcher, Batcher[str, int])
        future = batcher.enqueue("four")
        assert_type(future, Future[int])
        assert_type(batcher.map(["a", "bb"]), list[int])
        assert_type(batcher.map(["a"], return_exceptions=True), list[int | BatchBridgeError])
        print(future.result() + 1)


def with_provider(name: str) -> None:
    assert_type(Batcher(OpenAIBatch(model=name)), Batcher[Any, Any])
    batcher: Batcher[list[AnyMessage], AIMessage] = Batcher(OpenAIBatch(model=name))
    assert_type(batcher.submit([HumanMessage("hello")]), AIMessage)


def with_bridge(name: str) -> None:
    bridge = Bridge(OpenAIBatch(model=name), deadline=Deadline(within="2h", then="pay_again"), attempts=1)
    assert_type(Batcher(bridge, path="batcher.db"), Batcher[Any, Any])
    print(bridge.deadline, Bridge(submit=submit, poll=poll, deadline="2h"))


async def node(messages: list[AnyMessage], item: dict[str, Any]) -> None:
    assert_type(await wait(messages), AIMessage)
    assert_type(wait_sync([HumanMessage("hello")], batcher="bridge"), AIMessage)
    assert_type(await wait_many([messages, messages]), list[AIMessage])
    assert_type(await wait(item), Any)
    client = wrap_openai(AsyncOpenAI())
    assert_type(client, AsyncOpenAI)


def mistakes() -> None:
    batcher = Batcher(submit_func=submit, poll_func=poll)
    batcher.submit(1)  # MISTAKE
    batcher.submit("a").upper()  # MISTAKE
    Deadline(within="2h", then="never")  # MISTAKE
    Batcher(submit_func=submit, poll_func=poll, attempts=1)  # MISTAKE


if __name__ == "__main__":
    main()
