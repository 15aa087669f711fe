"""What the tests of LangChain's models share: models of each kind, a bridge to the server, and an agent."""

from helpers import Desk, memory, one_node, within
from langchain_answers import answer
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from openai import AsyncOpenAI, DefaultAsyncHttpxClient

from batch_bridge import Bridge, Runner
from batch_bridge.providers.openai import OpenAIBatch


@tool
def look_up(city: str) -> str:
    """Tell the weather of a city."""
    return f"It rains in {city}."


def chat(server, **options):
    return ChatOpenAI(**{"model": "gpt-4o-mini", "base_url": server.base_url, "api_key": "test", **options})


def fresh(model):
    """The same model with connections of its own: LangChain shares them, and each test has another event loop."""
    return type(model)(
        model=model.model_name,
        base_url=model.openai_api_base,
        api_key="test",
        use_responses_api=model.use_responses_api,
        http_async_client=DefaultAsyncHttpxClient(),
    )


def responses(server, **options):
    return chat(server, use_responses_api=True, **options)


MODELS = {"chat": chat, "responses": responses}


def bridge(server, **options):
    client = AsyncOpenAI(base_url=server.base_url, api_key="test")
    return Bridge(OpenAIBatch(client), **{"poll_interval": 0.05, "attempts": 1, **options})


def runner(graph, server, **options):
    return Runner(graph, bridge(server), **{"path": ":memory:", "progress": False, **options})


def plain(message):
    """A message without what is new in every run, the ids that LangChain makes up, and without what a batch has paid."""
    fields = message.model_dump()
    told = {name: value for name, value in fields["response_metadata"].items() if name != "batch_bridge"}
    return {
        **fields,
        "response_metadata": told,
        "id": None
        if str(fields["id"]).startswith(("lc_run", "run-")) or fields["type"] in ("human", "tool")
        else fields["id"],
    }


def desk():
    return Desk(lambda item: answer(item["url"], item["body"]).body)


def model(**options):
    return ChatOpenAI(**{"model": "gpt-4o-mini", "api_key": "test", "base_url": "http://127.0.0.1:1/v1", **options})


async def in_node(node, far_side=None, inputs=({},), **options):
    """Run a node under a Runner, and return what it said and the desk that answered."""
    far_side = far_side or desk()
    async with memory(one_node(node, **options), far_side.bridge()) as runner:
        results = await within(runner.abatch(list(inputs)))
    return [each["x"] for each in results], far_side
