from datetime import timedelta

import openai
import pytest

from batch_bridge import Bridge, Limits
from batch_bridge.providers.openai import OpenAIBatch


def test_it_is_made_of_nothing_or_of_a_client():
    assert repr(OpenAIBatch()) == "OpenAIBatch()"
    assert repr(OpenAIBatch(model="gpt-4o-mini")) == "OpenAIBatch(model='gpt-4o-mini')"
    OpenAIBatch(openai.AsyncOpenAI(api_key="x"))
    Bridge(OpenAIBatch(openai.AsyncAzureOpenAI(api_key="x", azure_endpoint="http://x", api_version="v")))


@pytest.mark.parametrize("kind", [openai.OpenAI, lambda **_: "client", lambda **_: dict])
def test_another_client_is_a_type_error(kind):
    with pytest.raises(TypeError, match="AsyncOpenAI"):
        OpenAIBatch(kind(api_key="x"))


@pytest.mark.parametrize(
    ("options", "kind", "says"),
    [
        ({"endpoint": "/chat"}, ValueError, "/v1/chat/completions"),
        ({"model": ""}, TypeError, "model"),
        ({"model": 7}, TypeError, "model"),
        ({"model": "a", "defaults": {"model": "b"}}, ValueError, "one or the other"),
        ({"defaults": {"stream": True}}, ValueError, "cannot stream"),
        ({"defaults": [1]}, TypeError, "defaults"),
        ({"defaults": {"tool": object()}}, TypeError, "OpenAIBatch"),
        ({"metadata": {"batch_bridge_key": "x"}}, ValueError, "rename yours"),
        ({"metadata": {str(i): "x" for i in range(16)}}, ValueError, "16 pairs"),
        ({"metadata": {"a": 7}}, TypeError, "strings"),
        ({"metadata": {"a": "x" * 513}}, ValueError, "too long"),
        ({"files_expire_after": True}, TypeError, "timedelta"),
        ({"files_expire_after": timedelta(minutes=1)}, ValueError, "one hour"),
        ({"output_expires_after": timedelta(days=31)}, ValueError, "30 days"),
    ],
)
def test_wrong_arguments_say_what_is_wrong(options, kind, says):
    with pytest.raises(kind, match=says):
        OpenAIBatch(**options)


def test_limits_can_be_others():
    assert OpenAIBatch().limits == Limits(requests=50_000, bytes=200_000_000)
    assert OpenAIBatch(limits=Limits(requests=10)).limits == Limits(requests=10)
