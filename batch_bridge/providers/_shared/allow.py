"""Restrictions for items that contain input of untrusted users. Pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from batch_bridge._core.json.messages import TAG
from batch_bridge._core.models import JSON
from batch_bridge.providers._shared.item import refuse

_CONTENT: Final = frozenset({"messages", "input", "contents", "prompt"})
"""Fields that hold what a model reads, of which an item is made at the least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allow:
    """Restricts what items may set, in addition to the model's input. The provider's `defaults` are not restricted.

    Attributes:
        models: The allowed models; `None` allows any.
        endpoints: The allowed endpoints, such as `"/v1/responses"`; `None` allows any.
        fields: The fields of a body that an item may set, such as `"temperature"`; `None` allows any. Fields with the
            model's input are always allowed, and so is `model` if `models` is given.

    Raises:
        TypeError: An argument is a single string.
    """

    models: Collection[str] | None = None
    endpoints: Collection[str] | None = None
    fields: Collection[str] | None = None

    def __post_init__(self) -> None:
        for name in ("models", "endpoints", "fields"):
            if isinstance(getattr(self, name), str):
                raise TypeError(f"Allow({name}={getattr(self, name)!r}): pass a tuple of names")


Allowed: TypeAlias = Allow | Literal["messages"] | None
"""What a provider takes as `allow=`: `"messages"` is a list of messages and nothing else, `None` is anything."""


def read_allow(provider: str, allow: Allowed) -> Allowed:
    """Return a provider's `allow=`, checked.

    Raises:
        TypeError: It is nothing that can be told.
    """
    if allow is not None and allow != "messages" and not isinstance(allow, Allow):
        raise TypeError(f'{provider}(allow={allow!r}): pass Allow(…), or "messages", or omit it')
    return allow


def check(allow: Allowed, item: JSON, body: JSON, *, model: str, endpoint: str = "") -> None:
    """Check that an item has no field that is not allowed.

    Args:
        allow: What it may say.
        item: The item.
        body: The part of it that holds a request's fields.
        model: What it comes to.
        endpoint: The same.

    Raises:
        RequestRefused: It says more.
    """
    if allow is None:
        return
    if allow == "messages":
        if not (type(item) is list or (type(item) is dict and TAG in item)):
            refuse('it is not a list of messages, but this provider has allow="messages"', "pass a list of messages")
        return
    if allow.models is not None and model not in allow.models:
        refuse(f"its model {model[:80]!r} is not allowed", f"Allow(models=…) names {_named(allow.models)}")
    if endpoint and allow.endpoints is not None and endpoint not in allow.endpoints:
        refuse(f"its endpoint {endpoint[:80]!r} is not allowed", f"Allow(endpoints=…) names {_named(allow.endpoints)}")
    if allow.fields is not None and isinstance(body, Mapping) and TAG not in body:
        may = {*allow.fields, *_CONTENT, *(("model",) if allow.models is not None else ())}
        if more := sorted(map(str, body.keys() - may)):
            shown = ", ".join(each[:80] for each in more[:5])
            refuse(f"it sets {shown}, which is not allowed", f"Allow(fields=…) names {_named(allow.fields)}")


def _named(names: Collection[str]) -> str:
    return ", ".join(sorted(names)) or "nothing"
