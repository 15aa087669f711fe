"""Bridges in a file: what is made of it, and what is said when nothing can be."""

import inspect
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from batch_bridge import Bridge, Budget, Limits, ResponseCache, TenantLimits, load_bridges
from batch_bridge._core.policy.flush_policy import FlushPolicy
from batch_bridge.bridge._config.fields import Duration
from batch_bridge.bridge._config.tables import PROVIDERS, BridgeTable, BudgetTable, CacheTable, FlushTable, TenantTable
from batch_bridge.errors import BatchBridgeError, ConfigError
from batch_bridge.providers._shared.create import KINDS, option_names

SECRET = "sk-not-to-be-told"
PROVIDER = '[bridges.bridge.provider]\nname = "openai"\n'


@pytest.fixture
def load(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "test")

    def load(text, name="bridges.toml"):
        path = tmp_path / name
        path.write_text(text)
        return load_bridges(path)

    return load


def problems(load, text, name="bridges.toml"):
    with pytest.raises(ConfigError) as raised:
        load(text, name)
    assert name in str(raised.value)
    assert SECRET not in str(raised.value) + repr(raised.value) + str(raised.value.__cause__)
    return raised.value.problems


def test_the_least_that_is_a_bridge(load):
    bridges = load(PROVIDER)
    assert list(bridges) == ["bridge"]
    plain = Bridge(bridges["bridge"].provider._batch)
    bridge = bridges["bridge"]
    assert (bridge.name, bridge.poll_interval, bridge._flush) == ("bridge", plain.poll_interval, plain._flush)


def test_everything_reaches_its_argument(load, tmp_path):
    bridge = load(
        """
        [bridges.night]
        poll_interval = "90s"
        mode = "auto"
        realtime_below = 20
        dedupe = true
        linger = 0.5
        retention = "2d"
        attempts = 5
        deadline = "1h"
        on_deadline = "pay_again"
        [bridges.night.fallback]
        name = "openai"
        model = "large"
        [bridges.night.provider]
        name = "openai"
        model = "m"
        defaults = { temperature = 0 }
        limits = { requests = 10 }
        delete_files = true
        files_expire_after = "7d"
        timeout = "1m"
        [bridges.night.flush]
        max_requests = 5
        max_age = "never"
        max_idle = "10s"
        [bridges.night.cache]
        path = "cache.db"
        ttl = "30d"
        tenant = "x"
        [bridges.night.budget]
        usd = 2.5
        requests_per_thread = 70
        [bridges.night.per_tenant]
        requests = 7
        bytes = 900
        """
    )["night"]
    assert (bridge.name, bridge.mode, bridge.linger) == ("night", "auto", 0.5)
    settings = bridge._settings
    assert (settings.attempts, settings.ladder.after, settings.ladder.policy) == (5, timedelta(hours=1), "pay_again")
    assert settings.ladder.providers[0]._batch._settings.defaults == {"model": "large"}
    assert bridge.poll_interval == timedelta(seconds=90)
    assert bridge._retention == timedelta(days=2)
    assert bridge._flush == FlushPolicy(max_requests=5, max_age=None, max_idle=10)
    assert settings.per_tenant == TenantLimits(requests=7, bytes=900)
    assert bridge.budget == Budget(usd="2.5", requests_per_thread=70)
    settings = bridge.provider._batch._settings
    assert (settings.defaults, bridge.provider._batch._deletes) == ({"temperature": 0, "model": "m"}, True)
    assert settings.files_expire_after == timedelta(days=7)
    assert bridge.provider.limits == Limits(requests=10)
    assert bridge.provider._batch._clients._own.timeout == 60
    assert bridge._settings.deduplication.dedupe
    assert (tmp_path / "cache.db").exists()


@pytest.mark.parametrize("name", KINDS)
def test_each_provider_can_be_described(load, name, monkeypatch):
    monkeypatch.setenv("ITS_KEY", "k")
    azure = 'azure_endpoint = "https://x.openai.azure.com"\napi_version = "v1"\n' if name == "azure" else ""
    vllm = 'base_url = "http://127.0.0.1:8000/v1"\n' if name == "vllm" else ""
    text = f'[bridges.b.provider]\nname = "{name}"\nmodel = "m"\napi_key_env = "ITS_KEY"\n{azure}{vllm}'
    assert "m" in repr(load(text)["b"].provider)


def test_yaml_says_the_same(load):
    text = "bridges:\n  bridge:\n    poll_interval: 90s\n    provider:\n      name: openai\n      model: m\n"
    assert load(text, "bridges.yaml")["bridge"].poll_interval == timedelta(seconds=90)
    assert "known are" in problems(load, text.replace("model", "modle"), "bridges.yml")[0]
    broken = f"bridges:\n  a: [{SECRET}\n b: {SECRET}"
    assert "line 3" in problems(load, broken, "bridges.yaml")[0]


def test_the_example_can_be_used(monkeypatch, tmp_path, load):
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    example = Path(__file__).parents[3] / "examples" / "bridges.toml"
    assert list(load(example.read_text())) == ["bridge", "long_context"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (PROVIDER + 'modle = "x"', "bridges.bridge.provider.modle: unknown field; did you mean 'model'?"),
        (PROVIDER + "max_tokens = 3", "known are name, model"),
        (PROVIDER + "[bridges.bridge.flush]\nmax_agee = 3", "bridges.bridge.flush.max_agee: unknown field"),
        (PROVIDER + '[bridges.bridge.flush]\nmax_age = "soon"', "bridges.bridge.flush.max_age = 'soon': write a dur"),
        (PROVIDER + "[bridges.bridge.flush]\nmax_requests = 0", "bridges.bridge.flush.max_requests = 0: input should"),
        (
            PROVIDER + "[bridges.bridge]\nx = 1",
            "bridges.bridge.x: unknown field; known are provider, flush",
        ),
        (PROVIDER + "[bridges.bridge", "it is not valid TOML: "),
        (PROVIDER + "[bridge]", "bridge: unknown field; did you mean 'bridges'?"),
        ("", "bridges: is missing; write it"),
        ("bridges = {}", "it describes no bridge"),
        ('[bridges.b]\nprovider = "openai"', "bridges.b.provider: must be a table"),
        ('[bridges.b]\nmode = "batch"', "bridges.b.provider: is missing"),
        ('[bridges.b.provider]\nmodel = "m"', "bridges.b.provider.name: is missing; name the provider"),
        (
            '[bridges.b.provider]\nname = "opnai"',
            "bridges.b.provider.name = 'opnai': there is no such provider; did you",
        ),
        ('[bridges."a.b".provider]\nname = "openai"', "a name must be a non-empty string without dots"),
        (PROVIDER + 'endpoint = "/nowhere"', "bridges.bridge.provider: OpenAIBatch(endpoint='/nowhere')"),
        (PROVIDER + 'api_key_env = "NOT_SET_ANYWHERE"', "the environment variable NOT_SET_ANYWHERE, which is not set"),
        (PROVIDER + '[bridges.bridge.cache]\npath = "no/such/folder.db"', "bridges.bridge.cache: "),
        ('[bridges.b]\nrealtime_below = 3\n[bridges.b.provider]\nname = "openai"', 'is for mode="auto"'),
    ],
)
def test_what_is_wrong_is_named(load, text, words):
    (problem,) = problems(load, text)
    assert words in problem


def test_all_that_is_wrong_is_told_together(load):
    text = PROVIDER + 'modle = "x"\nendpont = "y"\n[bridges.other]\nmode = "turbo"\n'
    assert len(problems(load, text)) == 4


@pytest.mark.parametrize(
    "line",
    [
        f'api_key = "{SECRET}"',
        f'api_key_env = "{SECRET}"',
        f'token = "{SECRET}"',
        f'base_url = "https://user:{SECRET}@host/v1"',
        f'base_url = "https://host/v1?key={SECRET}"',
        f'base_url = "{SECRET}"',
        f'base_url = "{SECRET}',
    ],
)
def test_a_secret_in_the_file_is_refused_and_never_told(load, line):
    assert problems(load, PROVIDER + line)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load_bridges(tmp_path / "bridges.toml")
    assert issubclass(ConfigError, BatchBridgeError)


@pytest.mark.parametrize("name", KINDS)
def test_a_table_has_every_option_of_its_provider(name):
    """But for the client, and the key, in whose place its variable is named."""
    options = set(option_names(name)) - {"client", "api_key"} | {"name", "api_key_env"}
    assert set(PROVIDERS[name].model_fields) == options


CODE = {"submit", "poll", "find", "on_event", "telemetry"}


@pytest.mark.parametrize(
    ("table", "of", "without"),
    [
        (FlushTable, FlushPolicy, {"when"}),
        (CacheTable, ResponseCache, {"place"}),
        (TenantTable, TenantLimits, set()),
        (BridgeTable, Bridge, {*CODE, "name", "client", "notify", "callback_workers", "prices"}),
        (BudgetTable, Budget, set()),
    ],
)
def test_a_table_has_every_argument_that_a_file_can_hold(table, of, without):
    """Whoever adds an argument adds it to `_tables.py` and docs/configuration.md too, or to the exceptions here."""
    arguments = set(inspect.signature(of).parameters) - without
    assert set(table.model_fields) - {"path", "notify_env", "on_deadline"} == arguments


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30),
        ("90m", 5400),
        ("1h 30m", 5400),
        ("1h30m", 5400),
        ("7d", 604800),
        ("1.5s", 1.5),
        ("250ms", 0.25),
        (2, 2),
    ],
)
def test_durations(text, seconds):
    assert TypeAdapter(Duration).validate_python(text) == timedelta(seconds=seconds)


@given(st.text() | st.booleans() | st.none() | st.floats())
def test_no_other_text_is_a_duration(value):
    try:
        read = TypeAdapter(Duration).validate_python(value)
    except ValidationError:
        return
    assert isinstance(value, float) or value.strip()[-1] in "smhd"
    assert isinstance(read, timedelta)
