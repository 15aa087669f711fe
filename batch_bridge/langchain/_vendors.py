"""The chat models that can go through a batch, and the modules that know their clients.

No vendor's package is imported before a model of it is given.
"""

import importlib
from typing import Any, Final, Protocol, cast

from langchain_core.language_models import BaseChatModel

from batch_bridge._core.provider import Provider
from batch_bridge._dropin.asker import Asker

_MODULES: Final = {
    ("langchain_openai", "ChatOpenAI"): "_openai",
    ("langchain_openai", "AzureChatOpenAI"): "_openai",
    ("langchain_anthropic", "ChatAnthropic"): "_anthropic",
    ("langchain_google_genai", "ChatGoogleGenerativeAI"): "_google",
}
"""Classes whose instances, those of subclasses among them, go through a batch: package, name, and our module for it."""


class Vendor(Protocol):
    """What there is to know about a vendor's chat models."""

    def clients(self, model: BaseChatModel, asker: Asker) -> dict[str, Any]:
        """Return the fields of a model that let its calls be asked of a batch, in place of its own."""
        ...

    def provider(self, model: BaseChatModel) -> Provider:
        """Return the provider that asks with a model's own account, address and settings."""
        ...

    def identity(self, model: BaseChatModel) -> object:
        """Return a key that differs between models with different providers. Hashable; holds secrets, never stored."""
        ...

    def client_of(self, model: BaseChatModel) -> object:
        """Return what holds the credentials of a model's own calls."""
        ...


def vendor_of(kind: type[BaseChatModel]) -> Vendor | None:
    """Return the vendor that knows the clients of a class of chat models; `None` if no vendor does."""
    for base in kind.__mro__:
        name = _MODULES.get((base.__module__.partition(".")[0], base.__name__))
        if name is not None:
            return cast("Vendor", importlib.import_module(f"batch_bridge.langchain.{name}"))
    return None
