"""A provider by its name and options, for code that reads both from somewhere."""

import difflib
import importlib
import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from batch_bridge._core.provider import Provider
from batch_bridge.providers._shared.extra import require_extra
from batch_bridge.providers._shared.names import OPENAI_NAMES


@dataclass(frozen=True, slots=True)
class Kind:
    """How a provider is made.

    Attributes:
        module: Where its class is, below this package.
        name: The class.
        sdk: The module that it needs.
        extra: The extra of this distribution that brings the SDK; empty where it is always there.
        client: The class of the client, in `sdk`.
        wiring: Names of the client's own options.
        hosts: The vendor's own hosts, which may receive its keys, as may those below them.
        fixed: Options of the class that its name has settled.
    """

    module: str
    name: str
    sdk: str
    client: str
    wiring: tuple[str, ...]
    hosts: tuple[str, ...] = ()
    extra: str = ""
    fixed: Mapping[str, str] = field(default_factory=dict)


_OPENAI: Final = ("api_key", "base_url", "organization", "project", "timeout")


_OPENAI_HOSTS: Final[Mapping[str, tuple[str, ...]]] = {
    "openai": ("openai.com",),
    "groq": ("groq.com",),
    "together": ("together.xyz", "together.ai"),
    "mistral": ("mistral.ai",),
    "doubleword": ("doubleword.ai",),
}
"""A server that one runs oneself has none."""


def _like_openai(name: str) -> Kind:
    hosts = _OPENAI_HOSTS.get(name, ())
    return Kind("openai", "OpenAIBatch", "openai", "AsyncOpenAI", _OPENAI, hosts, fixed={"quirks": name})


KINDS: Final[Mapping[str, Kind]] = {
    **{name: _like_openai(name) for name in OPENAI_NAMES},
    "azure": Kind(
        "azure",
        "AzureOpenAIBatch",
        "openai",
        "AsyncAzureOpenAI",
        ("api_key", "azure_endpoint", "api_version", "timeout"),
        ("azure.com", "azure.us", "azure.cn"),
    ),
    "anthropic": Kind(
        "anthropic",
        "AnthropicBatch",
        "anthropic",
        "AsyncAnthropic",
        ("api_key", "base_url", "timeout"),
        ("anthropic.com",),
        extra="anthropic",
    ),
    "gemini": Kind(
        "gemini",
        "GeminiBatch",
        "google.genai",
        "Client",
        ("api_key", "base_url", "timeout"),
        ("generativelanguage.googleapis.com",),
        extra="gemini",
    ),
}
"""The providers that `create` makes, by name. Configuration files and the documentation have the same names."""


def create(name: str, **options: Any) -> Provider:
    """Create a provider from its name.

    ::

        provider = create("anthropic", model="claude-haiku-4-5", max_tokens=500)

    Args:
        name: `"openai"`, `"azure"`, `"anthropic"`, `"gemini"`, or an OpenAI-compatible server: `"groq"`, `"together"`,
            `"mistral"`, `"doubleword"`, `"vllm"`.
        **options: Arguments of the provider's class. Instead of `client=`, options of the client are accepted:
            `api_key`, `base_url` and `timeout` (seconds, or a `timedelta`), for OpenAI also `organization` and
            `project`, and for Azure `azure_endpoint` and `api_version` instead of `base_url`. Missing options are
            read from the environment, as in the vendor's SDK.

    Raises:
        ValueError: There is no provider of this name, or it does not accept a value.
        TypeError: The provider has no such option, or an option has the wrong type.
        ImportError: The provider's SDK is not installed; the error says what to install.
    """
    if name not in KINDS:
        raise ValueError(f"create({name!r}): there is no such provider; {_suggest(name, KINDS)}")
    kind = KINDS[name]
    made = _import(kind)
    known = option_names(name)
    for option in options:
        if option not in known:
            raise TypeError(f"create({name!r}, {option}=…): unknown option; {_suggest(option, known)}")
    wiring = {option: options.pop(option) for option in kind.wiring if option in options}
    wiring = {option: value for option, value in wiring.items() if value is not None}
    if wiring:
        if options.get("client") is not None:
            raise TypeError(f"create({name!r}): got client= and {', '.join(wiring)}; pass one or the other")
        options["client"] = _client(name, kind, wiring)
    provider: Provider = made(**options, **kind.fixed)
    return provider


def option_names(name: str) -> list[str]:
    """Return the options that `create` takes for a provider whose SDK is installed."""
    kind = KINDS[name]
    parameters = inspect.signature(_import(kind)).parameters
    return [*(each for each in parameters if each not in kind.fixed), *kind.wiring]


def _import(kind: Kind) -> Callable[..., Any]:
    require_extra(kind.sdk, kind.extra)
    made: Callable[..., Any] = getattr(importlib.import_module(f"batch_bridge.providers.{kind.module}"), kind.name)
    return made


def _client(name: str, kind: Kind, wiring: dict[str, Any]) -> object:
    sdk = importlib.import_module(kind.sdk)
    if "timeout" in wiring and hasattr(wiring["timeout"], "total_seconds"):
        wiring["timeout"] = wiring["timeout"].total_seconds()
    if name == "gemini":
        return _gemini(sdk, wiring)
    if kind.fixed:
        quirks = importlib.import_module("batch_bridge.providers.openai._dialects").quirks_of(name)
        wiring.setdefault("base_url", quirks.base_url)
        if quirks.api_key is not None and "api_key" not in wiring:
            wiring["api_key"] = os.environ.get(quirks.api_key)
            if not wiring["api_key"]:
                raise ValueError(
                    f"create({name!r}): there is no API key; set the environment variable {quirks.api_key}"
                )
    refusals = (sdk.OpenAIError if kind.sdk == "openai" else sdk.AnthropicError, ValueError)
    try:
        client: object = getattr(sdk, kind.client)(**wiring, max_retries=0)
    except refusals as error:
        raise ValueError(f"create({name!r}): no client can be created: {error}") from error
    return client


def _gemini(sdk: Any, wiring: dict[str, Any]) -> object:
    options = sdk.types.HttpOptions(base_url=wiring.pop("base_url", None))
    if "timeout" in wiring:
        options.timeout = int(wiring.pop("timeout") * 1000)
    try:
        client: object = sdk.Client(vertexai=False, http_options=options, **wiring)
    except ValueError as error:
        raise ValueError("create('gemini'): there is no API key; set GEMINI_API_KEY, or pass api_key=…") from error
    return client


def _suggest(wrong: str, known: Mapping[str, Any] | list[str]) -> str:
    near = difflib.get_close_matches(wrong, known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{hint}There are {', '.join(map(repr, known))}"
