"""The short way of the calls that are made most, from plain arguments to the SDK's type.

What the SDK does between a method and its HTTP call, it does for arguments of every kind; for plain ones it changes
nothing and takes most of a call's time.
"""

import functools
import inspect
import os
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from types import FunctionType
from typing import Any, Final, cast

import openai
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletion
from openai.types.responses import Response
from pydantic import BaseModel, ValidationError

from batch_bridge._core.json import text as _text
from batch_bridge._core.json.json_values import Written
from batch_bridge._core.models import Outcome, Succeeded
from batch_bridge._dropin.asker import Asker
from batch_bridge._dropin.openai.async_client import origin_of
from batch_bridge._dropin.openai.request import CHAT, RESPONSES, Origin, fast_body
from batch_bridge._dropin.openai.response import answer_of
from batch_bridge._dropin.openai.shared_state import SharedClientState

_SDK_FOLDER: Final = os.path.dirname(openai.__file__)  # noqa: PTH120  # compared with what Python says, a string
_NO_BODY: Final = frozenset({"self", "extra_headers", "extra_query", "extra_body", "timeout"})
_SHORT: Final = (
    (("chat", "completions"), CHAT, ChatCompletion, frozenset({"messages", "model"})),
    (("responses",), RESPONSES, Response, frozenset({"input", "model"})),
)
"""Where they are, their endpoint, their type, and the arguments that they cannot do without."""


def shorten(client: Any, shared: SharedClientState, asker: Asker) -> None:
    """Hook the `create` methods of a client that is hooked otherwise; what is not plain takes the long way."""
    origin = origin_of(client)
    for path, endpoint, cast_to, required in _SHORT:
        resource: Any = functools.reduce(getattr, path, client)
        kind = type(resource)
        way = _Way(client, shared, asker, origin, endpoint, cast_to, _fields(cast("Hashable", kind)), required, kind)
        hook = way.hook if isinstance(client, AsyncOpenAI) else way.hook_sync
        resource.__dict__["create"] = hook(resource)


@functools.cache
def _fields(resource: Hashable) -> frozenset[str]:
    """Return the arguments of a resource's `create` that go into the body."""
    create: Any = resource.create  # type: ignore[attr-defined]  # a class of the SDK's
    return frozenset(inspect.signature(create).parameters) - _NO_BODY


def _is_sdks(method: Any) -> bool:
    """Return whether a method is the SDK's own, and not that of a library that traces calls.

    Such a library replaces the methods of the SDK's classes, at any time: so each call looks its method up.
    """
    return type(method) is FunctionType and method.__code__.co_filename.startswith(_SDK_FOLDER)


@dataclass(frozen=True, slots=True)
class _Way:
    """The short way of one method.

    Attributes:
        client: The hooked client.
        shared: Its settings.
        asker: Sends the requests.
        origin: The client's endpoint.
        endpoint: Where the call goes.
        cast_to: What it returns.
        fields: The arguments that go into the body.
        required: Those of them that must be there.
        resource: The class that has the method.
    """

    client: Any
    shared: SharedClientState
    asker: Asker
    origin: Origin
    endpoint: str
    cast_to: type[BaseModel]
    fields: frozenset[str]
    required: frozenset[str]
    resource: Any

    def hook(self, resource: Any) -> Callable[..., Any]:
        """Return the method of a resource, which goes this way where it can."""

        @functools.wraps(resource.create)
        async def create(*args: Any, **kwargs: Any) -> Any:
            item = self._item(args, kwargs)
            if item is None:
                return await self.resource.create(resource, *args, **kwargs)
            return self._read(await self.asker.ask(item))

        return create

    def hook_sync(self, resource: Any) -> Callable[..., Any]:
        """Return the method of a synchronous client's resource that does so."""

        @functools.wraps(resource.create)
        def create(*args: Any, **kwargs: Any) -> Any:
            item = self._item(args, kwargs)
            if item is None:
                return self.resource.create(resource, *args, **kwargs)
            return self._read(self.asker.ask_sync(item))

        return create

    def _item(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Written | None:
        if args or self.client._strict_response_validation or not _is_sdks(self.resource.create):  # noqa: SLF001
            return None
        body = fast_body(kwargs, self.fields, self.required)
        if body is None:
            return None
        self.shared.note_headers(self.client, self.asker)
        return self.origin.written(self.endpoint, body)

    def _read(self, ended: tuple[str, Outcome]) -> Any:
        """Return the answer as the SDK's type, of the caller's own: a node that is run again gets it once more.

        Where the answer is what the SDK says it is, validation makes the same object as the SDK's own reading, which
        asks less of the answer and takes ten times as long.
        """
        answer, outcome = answer_of(self.client, self.endpoint, ended), ended[1]
        is_known = isinstance(outcome, Succeeded) and outcome.is_plain
        data = _text.write_again(answer) if is_known else _text.write(answer)
        try:
            return self.cast_to.model_validate_json(data, strict=True)
        except ValidationError:
            read = self.client._process_response_data  # noqa: SLF001
            return read(data=_text.read(data), cast_to=self.cast_to, response=None)
