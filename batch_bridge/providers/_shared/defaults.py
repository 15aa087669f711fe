"""A provider's default fields, for request bodies without them, checked."""

from collections.abc import Mapping

from batch_bridge._core.json.json_values import to_json
from batch_bridge._core.models import JSON


def read_defaults(provider: str, defaults: Mapping[str, object] | None, model: str | None) -> dict[str, JSON]:
    """Return the fields, `model` among them where one was named.

    Args:
        provider: Whose arguments they are, for errors.
        defaults: As the user gave them.
        model: The same.

    Raises:
        TypeError, ValueError: They are no fields of a body.
    """
    if model is not None and (not isinstance(model, str) or not model):
        raise TypeError(f"{provider}(model={model!r}): pass a model's name, or omit it and name it in the items")
    if defaults is not None and not isinstance(defaults, Mapping):
        raise TypeError(f"{provider}(defaults={defaults!r}): pass fields of a request body, as a dict")
    fields = to_json(dict(defaults or {}), what=f"{provider}(defaults=…)")
    assert isinstance(fields, dict)  # noqa: S101  # what it was made from
    if model is not None and fields.get("model", model) != model:
        raise ValueError(f"{provider} got model={model!r} and another in defaults=; pass one or the other")
    return fields if model is None else {**fields, "model": model}


def refuse_stream(provider: str, fields: Mapping[str, JSON]) -> None:
    """Pass if no stream is asked for.

    Raises:
        ValueError: One is.
    """
    if fields.get("stream"):
        raise ValueError(f'{provider}(defaults=…) has "stream" set, and a batch cannot stream; leave it out')
