"""Reads bridges from a file."""

import difflib
import importlib
import os
import tomllib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from batch_bridge._cache import ResponseCache
from batch_bridge._core.models import Limits
from batch_bridge._core.policy.flush_policy import FlushPolicy
from batch_bridge._core.provider import Provider
from batch_bridge._engine.waiting.tenants import TenantLimits
from batch_bridge._money import Budget
from batch_bridge.bridge import Bridge, Deadline
from batch_bridge.bridge._config.tables import (
    PROVIDERS,
    SECRETS,
    AllowTable,
    BridgeTable,
    BudgetTable,
    CacheTable,
    ConfigFile,
    FlushTable,
    LimitsTable,
    ProviderTable,
    ResponsesTable,
    TenantTable,
)
from batch_bridge.bridge._config.trust import TOO_DEEP, check_host, shape_problem
from batch_bridge.errors import CacheError, ConfigError
from batch_bridge.providers import Allow, ResponseLimits, create

_TABLES: Final[Mapping[str, type[BaseModel]]] = {
    "flush": FlushTable,
    "cache": CacheTable,
    "limits": LimitsTable,
    "responses": ResponsesTable,
    "allow": AllowTable,
    "per_tenant": TenantTable,
    "budget": BudgetTable,
}
_WHO: Final = ("provider", "fallback")
"""Tables of a bridge that name a provider."""
_NAMED_APART: Final = (
    "provider",
    "flush",
    "cache",
    "fallback",
    "per_tenant",
    "budget",
    "notify_env",
    "deadline",
    "on_deadline",
)
"""Fields of a bridge whose values make an argument of another name or type."""
_SHOWN: Final = 60
"""Characters of a wrong value that an error repeats."""


def load_bridges(path: str | os.PathLike[str], *, hosts: Collection[str] = ()) -> dict[str, Bridge]:
    """Return the bridges of a configuration file, by name.

    ::

        bridges = load_bridges("bridges.toml")
        async with Runner(graph, list(bridges.values())) as runner: ...

    The file is read once, and nothing is sent. Secrets come from the environment: the file names the variable
    (`api_key_env`), and a file that contains a key is refused.

    Args:
        path: A TOML file, or a YAML file by its ending (`.yaml`, `.yml`). Paths in it are relative to its folder.
        hosts: Hosts to which a key of this environment may be sent, in addition to the vendors' own and this machine. A
            file with another host in a `base_url` is refused, because its author would receive the key.

    Raises:
        ConfigError: The file cannot be read, or is invalid. The error lists all problems of its fields.
    """
    file = Path(path)
    try:
        read = _read(file)
    except RecursionError:
        raise _wrong(file, [TOO_DEEP]) from None
    if (problem := shape_problem(read)) is not None:
        raise _wrong(file, [problem])
    try:
        described = ConfigFile.model_validate(read)
    except ValidationError as error:
        problems = list(dict.fromkeys(_tell(each) for each in error.errors(include_url=False)))
        raise _wrong(file, problems) from None  # pydantic's own error repeats what it was given, secrets too
    if not described.bridges:
        raise _wrong(file, ["it describes no bridge; write a table such as [bridges.bridge.provider]"])
    return {name: _bridge(file, name, table, hosts) for name, table in described.bridges.items()}


def _read(file: Path) -> Any:
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise _wrong(file, [f"it cannot be read: {error.strerror or error}; name another file"]) from error
    except UnicodeDecodeError as error:
        raise _wrong(file, ["it is not UTF-8 text; save it as UTF-8"]) from error
    if file.suffix.lower() in (".yaml", ".yml"):
        return _read_yaml(file, text)
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _wrong(file, [f"it is not valid TOML: {error}"]) from error


def _read_yaml(file: Path, text: str) -> Any:
    try:
        yaml = importlib.import_module("yaml")
    except ImportError as error:
        raise _wrong(
            file, ["a YAML file needs PyYAML; run: pip install 'langgraph-batch-bridge[yaml]', or write TOML"]
        ) from error
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:  # its own words repeat the line, which may hold a secret
        mark = getattr(error, "problem_mark", None)
        where = "" if mark is None else f" (at line {mark.line + 1}, column {mark.column + 1})"
        raise _wrong(
            file, [f"it is not valid YAML: {getattr(error, 'problem', None) or 'it cannot be read'}{where}"]
        ) from None


def _wrong(file: Path, problems: Sequence[str]) -> ConfigError:
    if len(problems) == 1:
        return ConfigError(f"{file}: {problems[0]}", problems=problems)
    return ConfigError(
        f"{file} has {len(problems)} errors:\n" + "\n".join(f"- {each}" for each in problems), problems=problems
    )


# -- what a field's error says ---------------------------------------------------------------------------------------


def _tell(error: ErrorDetails) -> str:
    """Return what is wrong with a field, and what to write instead. No value of a secret's field is in it."""
    place = [str(each) for each in error["loc"]]
    provider = ""
    if len(place) > 3 and place[2] in _WHO:  # noqa: PLR2004  # bridges.<name>.provider.<which>
        provider = place.pop(3)
    where = ".".join(place) or "the file"
    match error["type"]:
        case "extra_forbidden":
            return _unknown(where, place, provider)
        case "missing":
            return f"{where}: is missing; write it"
        case "union_tag_invalid":
            named = error["input"].get("name")
            return f"{where}.name{_got(named)}: there is no such provider; {_near(str(named), list(PROVIDERS))}"
        case "union_tag_not_found":
            return f'{where}.name: is missing; name the provider, such as name = "openai"'
        case "model_type" | "model_attributes_type" | "dict_type":
            return f"{where}: must be a table"
        case _:
            said = error["msg"].removeprefix("Value error, ")
            shown = (
                "" if _is_secret(place[-1]) or place[-1].endswith(("_env", "url", "endpoint")) else _got(error["input"])
            )
            return f"{where}{shown}: {said[:1].lower()}{said[1:]}"


def _unknown(where: str, place: Sequence[str], provider: str) -> str:
    name = place[-1]
    if _is_secret(name):
        return (
            f"{where}: a secret does not belong into a file; put it into an environment variable and write "
            'its name: api_key_env = "…"'
        )
    return f"{where}: unknown field; {_near(name, _known(place, provider))}"


def _known(place: Sequence[str], provider: str) -> list[str]:
    """Return the names of the fields of the table that a field was put into."""
    table: type[BaseModel]
    match place:
        case [_]:
            table = ConfigFile
        case ["bridges", _, _]:
            table = BridgeTable
        case ["bridges", _, "provider" | "fallback", _]:
            table = PROVIDERS.get(provider, ProviderTable)
        case _:
            table = _TABLES.get(place[-2], ProviderTable)
    return list(table.model_fields)


def _near(wrong: str, known: list[str]) -> str:
    near = difflib.get_close_matches(wrong, known, n=1)
    return (f"did you mean {near[0]!r}? " if near else "") + f"known are {', '.join(known)}"


def _is_secret(name: str) -> bool:
    lower = name.lower()
    return not lower.endswith(("_env", "_tokens")) and any(part in lower for part in SECRETS)


def _got(value: object) -> str:
    return f" = {value!r}"[:_SHOWN] if isinstance(value, str | int | float | bool) else ""


# -- what is made of it ----------------------------------------------------------------------------------------------


def _bridge(file: Path, name: str, table: BridgeTable, hosts: Collection[str]) -> Bridge:
    part = "provider"
    try:
        provider = _provider(table.provider, hosts)
        part = "fallback"
        fallback = None if table.fallback is None else _provider(table.fallback, hosts)
        part = "cache"
        cache = None if table.cache is None else _cache(file, table.cache)
        part = "flush"
        flush = FlushPolicy(**table.flush.given())
        part = ""
        options = table.given(*_NAMED_APART)
        if table.deadline is not None or table.on_deadline is not None:
            options["deadline"] = Deadline(within=table.deadline, then=table.on_deadline or "wait_for_cancel")
        if table.notify_env is not None:
            options["notify"] = _urls(table.notify_env)
        if table.budget is not None:
            options["budget"] = Budget(**table.budget.given())
        if table.per_tenant is not None:
            options["per_tenant"] = TenantLimits(**table.per_tenant.given())
        return Bridge(provider, name=name, flush=flush, cache=cache, fallback=fallback, **options)
    except (TypeError, ValueError, ImportError, CacheError) as error:
        where = f"bridges.{name}.{part}" if part else f"bridges.{name}"
        raise _wrong(file, [f"{where}: {error}"]) from error


def _urls(variable: str) -> list[str]:
    urls = os.environ.get(variable, "").split()
    if not urls:
        raise ValueError(
            f"notify_env names the environment variable {variable}, which is not set; set it to a URL of apprise, or "
            "to several with a space between them"
        )
    return urls


def _cache(file: Path, table: CacheTable) -> ResponseCache:
    return ResponseCache(file.absolute().parent / table.path, **table.given("path"))


def _provider(table: ProviderTable, hosts: Collection[str]) -> Provider:
    check_host(table, hosts)
    options = table.given("name", "limits", "api_key_env", "responses", "allow")
    if table.limits is not None:
        options["limits"] = Limits(**table.limits.given())
    if table.responses is not None:
        options["responses"] = ResponseLimits(**table.responses.given())
    if table.allow is not None:
        options["allow"] = Allow(**table.allow.given()) if isinstance(table.allow, AllowTable) else table.allow
    if table.api_key_env is not None:
        key = os.environ.get(table.api_key_env)
        if not key:
            raise ValueError(
                f"api_key_env names the environment variable {table.api_key_env}, which is not set; set it to the key"
            )
        options["api_key"] = key
    return create(table.name, **options)
