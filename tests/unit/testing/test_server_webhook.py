import base64
import time

import orjson
import pytest
from openai import InvalidWebhookSignatureError, OpenAI

from batch_bridge.testing._server.webhook import signed_headers

BODY = orjson.dumps({"id": "evt_1", "object": "event", "created_at": 1, "type": "batch.completed", "data": {"id": "b"}})


@pytest.mark.parametrize("secret", ["plain secret", "whsec_" + base64.b64encode(b"0123456789").decode()])
def test_the_sdk_accepts_our_signature(secret):
    headers = signed_headers(secret, "evt_1", BODY, time.time())
    event = OpenAI(api_key="x").webhooks.unwrap(BODY, headers, secret=secret)
    assert (event.type, event.data.id) == ("batch.completed", "b")


@pytest.mark.parametrize("when", [0.0, -3600.0])
def test_the_sdk_refuses_another_body_or_an_old_one(when):
    headers = signed_headers("secret", "evt_1", BODY, time.time() + when)
    body = BODY if when else BODY + b" "
    with pytest.raises(InvalidWebhookSignatureError):
        OpenAI(api_key="x").webhooks.unwrap(body, headers, secret="secret")
