"""An item as a call of the Responses API, for a window. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from batch_bridge._core.models import JSON
from batch_bridge.providers._shared.item import is_message, refuse
from batch_bridge.providers.openai._call import OpenAICall, read_item
from batch_bridge.providers.openai._endpoint import CHAT, RESPONSES
from batch_bridge.providers.openai._windows.chat import to_response


@dataclass(frozen=True, slots=True)
class WindowCall:
    """One call of the Responses API.

    Attributes:
        model: The body's.
        body: What is posted, without what makes it a response in the background.
        is_chat: Whether a chat completion was asked for, which the answer is to look like.
        wants_message: Whether the answer is to be a LangChain message.
    """

    model: str
    body: Mapping[str, JSON]
    is_chat: bool
    wants_message: bool


def read_call(item: JSON, call: OpenAICall, defaults: Mapping[str, JSON]) -> WindowCall:
    """Return the call of the Responses API that an item asks for.

    Args:
        item: The item.
        call: The same as the call that a batch would hold.
        defaults: Fields for bodies that do not have them.

    Raises:
        RequestRefused: It is for another endpoint, or a chat completion that the Responses API cannot give.
    """
    if call.endpoint == RESPONSES:
        return WindowCall(call.model, call.body, is_chat=False, wants_message=call.wants_message)
    if call.endpoint != CHAT:
        refuse(f"windows do not take {call.endpoint}", f"they take {RESPONSES}, and {CHAT} where that loses nothing")
    if isinstance(item, list) and any(map(is_message, item)):  # LangChain's messages can be said in both APIs
        plain = {name: value for name, value in to_response({**defaults, "messages": []}).items() if name != "input"}
        read = read_item(item, plain, RESPONSES)
        return WindowCall(read.model, read.body, is_chat=False, wants_message=True)
    try:
        body = to_response(call.body)
    except (LookupError, TypeError, AttributeError):
        refuse("it is no chat completion that the Responses API can give", "check its messages and tools")
    return WindowCall(call.model, body, is_chat=not call.wants_message, wants_message=call.wants_message)
