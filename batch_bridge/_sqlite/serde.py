"""How checkpoints are encoded, and which types one may name when it is read.

LangGraph's own serializer builds whatever a checkpoint names, so that one who can write the file can run code in the
process that reads it. This one builds LangGraph's and LangChain's data types, and those of an allow list.
"""

import sys
import threading
from collections.abc import Iterable
from typing import Any, Final

from langgraph.checkpoint.serde.event_hooks import SerdeEvent, register_serde_event_listener
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from batch_bridge.errors import RunFileError

TypeName = tuple[str, ...]
"""Module and name of a type."""

_OPENAI: Final = frozenset(
    (f"openai.types.{module}", name)
    for module, name in (
        ("chat.chat_completion", "ChatCompletion"),
        ("chat.chat_completion_message", "ChatCompletionMessage"),
        ("completion", "Completion"),
        ("create_embedding_response", "CreateEmbeddingResponse"),
        ("moderation_create_response", "ModerationCreateResponse"),
        ("responses.response", "Response"),
    )
)
"""What a client that is wrapped answers with."""


class StrictSerializer(JsonPlusSerializer):
    """LangGraph's serializer, byte for byte, which refuses to build a type that is not listed.

    Args:
        types: Classes, or (module, name) of them, that a checkpoint may hold beside LangGraph's and LangChain's own.
    """

    def __init__(self, types: Iterable[type | TypeName] = ()) -> None:
        super().__init__(allowed_msgpack_modules=[*_OPENAI, *types])

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        """Decode a value.

        Raises:
            RunFileError: It names a type that is not listed. Nothing was built of it.
        """
        outer, _refused.names = getattr(_refused, "names", None), []
        try:
            value = super().loads_typed(data)
            refused: list[str] = _refused.names
        finally:
            _refused.names = outer
        if refused:
            raise RunFileError(
                f"a checkpoint contains {refused[0]}, but only types that the graph names are read from a "
                "file, because "
                "a manipulated file could run code. If it is yours, add it to the annotations of the graph's state, or "
                f"pass Runner(…, types=[{refused[0].rpartition('.')[2]}]), and run again"
            )
        return value


_refused = threading.local()
"""The types refused while this thread reads a value; LangGraph reports them here, and continues with raw data."""


def _note(event: SerdeEvent) -> None:
    names: list[str] | None = getattr(_refused, "names", None)
    if names is None or not event["kind"].endswith("blocked"):
        return
    module = sys.modules.get(event["module"])
    if module is None or hasattr(module, event["name"]):  # else it could not be built anyway: a local or generic class
        names.append(f"{event['module']}.{event['name']}")


register_serde_event_listener(_note)
