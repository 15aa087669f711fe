"""A call of the OpenAI client as an item, or why a batch cannot hold it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import orjson
from openai import NotGiven

from batch_bridge._core.headers import deciding
from batch_bridge._core.json.json_values import Written, serialize, to_json
from batch_bridge._core.json.messages import may_hold_messages
from batch_bridge._core.models import JSON
from batch_bridge.errors import JSONError

try:
    from openai import Omit
except ImportError:  # an openai 2 that has no such thing
    Omit = NotGiven  # type: ignore[misc,assignment]

CHAT: Final = "/v1/chat/completions"
RESPONSES: Final = "/v1/responses"
_MODERATIONS: Final = "/v1/moderations"

ENDPOINTS: Final = {
    "/chat/completions": CHAT,
    "/responses": RESPONSES,
    "/embeddings": "/v1/embeddings",
    "/completions": "/v1/completions",
    "/moderations": _MODERATIONS,
    "/images/generations": "/v1/images/generations",
}
"""The routes of the client that a batch can hold, and what a batch calls them. The others take files.

Source: OpenAI API reference, "Create batch", `endpoint` (https://platform.openai.com/docs/api-reference/batch/create).
"""
_MODERATION_MODEL: Final = "omni-moderation-latest"
"""The model of a moderation that names none; a batch wants it said.

Source: OpenAI API reference, "Create moderation", `model`.
"""
RAW: Final = "x-stainless-raw-response"
"""The header by which the SDK marks a call for a raw response."""
_OPTIONS_OF: Final = {
    "authorization": "api_key",
    "api-key": "api_key",
    "openai-organization": "organization",
    "openai-project": "project",
}
"""Headers that name the caller and the payer, and the client options that set them."""
_OMITTED: Final = (NotGiven, Omit)
_CALL_OPTIONS: Final = frozenset({"extra_headers", "extra_query", "extra_body", "timeout"})

Body: TypeAlias = dict[str, JSON]


@dataclass(frozen=True, slots=True)
class Origin:
    """A client's endpoint. Part of every item, so that no batch mixes two of them.

    Attributes:
        client: Its base URL, and organization and project where it names them; no key.
        deployment: The Azure deployment that the client's URL names; it takes the place of the body's model.
    """

    client: dict[str, JSON]
    deployment: str | None = None

    def item(self, endpoint: str, body: Body) -> Body:
        """Return the item for a call: a line of a batch's input, and the client that it was asked through."""
        if self.deployment is not None:
            body = {**body, "model": self.deployment}
        elif endpoint == _MODERATIONS and "model" not in body:
            body = {**body, "model": _MODERATION_MODEL}
        return {"method": "POST", "url": endpoint, "body": body, "client": self.client}

    def written(self, endpoint: str, body: Written) -> Written:
        """Return what `item` does for a body that `fast_body` has made."""
        if self.deployment is not None:
            return Written(orjson.dumps(self.item(endpoint, orjson.loads(body.data))))
        line, client = b'{"method":"POST","url":%b,"body":%b,"client":%b}', orjson.dumps(self.client)
        data = line % (orjson.dumps(endpoint), body.data, client)
        is_read = body.kind is None or may_hold_messages(data)
        return Written(data, None if is_read else (endpoint, client, body.kind))


def refusal(options: Any, *, stream: bool, usual: Mapping[str, object]) -> str | None:
    """Return why a batch cannot hold a call, or `None` if it can.

    Args:
        options: The SDK's `FinalRequestOptions`.
        stream: Whether the caller wants a stream.
        usual: The headers that the client sends with each call: see `usual_headers`.
    """
    if options.method.lower() != "post" or options.url not in ENDPOINTS:
        return f"the Batch API does not support {options.method.upper()} {route(options.url)}"
    if stream:
        return "a batch cannot stream (stream=True)"
    if options.files:
        return "a batch's line cannot carry files"
    if options.params:
        return f"a batch's line has no query, and the call has one ({', '.join(options.params)})"
    headers = given_headers(options)
    if headers.get(RAW, "true") != "true":
        return "a batch cannot stream (with_streaming_response)"
    if own := deciding(headers, usual):
        return f"a batch's line has no headers, and the call has some ({', '.join(own)}){_way_out(own)}"
    return None


def _way_out(headers: Mapping[str, str]) -> str:
    said = dict.fromkeys(f"{_OPTIONS_OF[name]}=…" for name in headers if name in _OPTIONS_OF)
    return f"; for another account, copy the client: with_options({', '.join(said)})" if said else ""


def usual_headers(client: Any) -> dict[str, object]:
    """Return the headers that a client sends with each of its calls, its credentials among them. Never stored."""
    usual: dict[str, object] = dict(client.default_headers)
    if key := client.api_key:
        usual |= {"api-key": key, "Authorization": f"Bearer {key}"}
    return usual


def given_headers(options: Any) -> dict[str, str]:
    """Return the headers of a call, by lower-case name."""
    headers = options.headers
    if not isinstance(headers, Mapping):
        return {}
    return {str(name).lower(): str(value) for name, value in headers.items() if not isinstance(value, _OMITTED)}


def has_timeout(options: Any) -> bool:
    """Return whether a call was given a timeout of its own."""
    return options.timeout is not None and not isinstance(options.timeout, _OMITTED)


def route(url: str) -> str:
    """Return a route without the ids in it."""
    return "/".join(part if part.replace("_", "").isalpha() else "…" for part in url.strip("/").split("/"))


def body_of(options: Any) -> Body:
    """Return what the SDK would post, `extra_body` included.

    Raises:
        JSONError: It holds something that JSON cannot carry.
    """
    body: dict[str, Any] = dict(options.json_data or {})
    if options.extra_json:
        body = {**body, **options.extra_json}
    given = {name: value for name, value in body.items() if not isinstance(value, _OMITTED)}
    return to_json(given, default=_plain, what="the request")  # type: ignore[return-value]  # a dict stays one


def fast_body(arguments: Mapping[str, Any], fields: frozenset[str], required: frozenset[str]) -> Written | None:
    """Return the body for plain keyword arguments of a `create`, without the SDK's own way there, which costs more.

    Args:
        arguments: As the caller gave them.
        fields: The names that go into the body.
        required: Those of them that must be there.

    Returns:
        The body, whose kind are its model and the names of its fields; `None` if anything about them is not plain: then
        the SDK's own way is right.
    """
    body: dict[str, Any] = {}
    for name, value in arguments.items():
        if isinstance(value, _OMITTED):
            continue
        if name in fields:
            body[name] = value
        elif name not in _CALL_OPTIONS or value is not None or name == "timeout":
            return None
    if body.get("stream") or not required <= body.keys():
        return None
    model = body.get("model")
    kind = (model, *body) if type(model) is str else None
    data = serialize(body)
    if data is not None:
        return Written(data, kind)
    try:
        return Written(orjson.dumps(to_json(body, what="the request")), kind)
    except JSONError:
        return None


def _plain(value: object) -> Mapping[str, object] | None:
    """Return a Pydantic model as the SDK sends it."""
    dump = getattr(value, "model_dump", None)
    return dump(mode="json", exclude_unset=True, by_alias=True) if callable(dump) else None
