"""What a configuration file may not say: its author gets no key, and cannot make a process hang."""

import pytest

from batch_bridge.bridge._config import load_bridges
from batch_bridge.errors import ConfigError

SECRET = "sk-abcdefghijklmnop"


def load(tmp_path, text, name="bridges.toml", **options):
    (tmp_path / name).write_text(text)
    return load_bridges(tmp_path / name, **options)


def provider(*lines, name="openai"):
    return "\n".join(["[bridges.bridge.provider]", f'name = "{name}"', 'model = "m"', *lines])


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("openai", 'base_url = "https://evil.example/v1"'),
        ("openai", 'base_url = "https://api.openai.com.evil.example/v1"'),
        ("openai", 'base_url = "https://notopenai.com/v1"'),
        ("groq", 'base_url = "https://evil.example/v1"'),
        ("azure", 'azure_endpoint = "https://evil.azure.com"'),
        ("anthropic", 'base_url = "https://evil.example"'),
        ("gemini", 'base_url = "https://evil.example"'),
    ],
)
def test_a_key_is_not_sent_to_a_host_that_nobody_named(tmp_path, monkeypatch, name, line):
    monkeypatch.setenv("A_KEY", "the-key-itself")
    with pytest.raises(ConfigError, match="would receive the key in A_KEY") as caught:
        load(tmp_path, provider(line, 'api_key_env = "A_KEY"', name=name))
    assert "the-key-itself" not in str(caught.value)


def test_it_is_sent_to_one_that_was_named(tmp_path, monkeypatch):
    monkeypatch.setenv("A_KEY", "the-key-itself")
    text = provider('base_url = "https://llm.example/v1"', 'api_key_env = "A_KEY"')
    assert load(tmp_path, text, hosts=["llm.example"])
    monkeypatch.setenv("BATCH_BRIDGE_HOSTS", "other.example,llm.example")
    assert load(tmp_path, text)
    assert load(tmp_path, provider('base_url = "https://eu.api.openai.com/v1"', 'api_key_env = "A_KEY"'))


@pytest.mark.parametrize(
    "line",
    [
        f'defaults = {{api_key = "{SECRET}"}}',
        f'defaults = {{extra_headers = {{Authorization = "{SECRET}"}}}}',
        f'defaults = {{note = "Bearer {SECRET}"}}',
    ],
)
def test_a_key_among_the_defaults_is_refused_and_not_repeated(tmp_path, line):
    with pytest.raises(ConfigError, match="a secret does not belong into a file") as caught:
        load(tmp_path, provider(line))
    assert SECRET not in str(caught.value)


def test_what_only_looks_like_a_key_is_taken(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    assert load(tmp_path, provider("defaults = {max_tokens = 5, properties = {token = {type = 'string'}}}"))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.toml", f"x = {'[' * 3_000}{']' * 3_000}"),
        ("a.toml", f"x = {'[' * 100}{']' * 100}"),
        ("a.yaml", f"x: {'[' * 3_000}{']' * 3_000}"),
        ("a.yaml", "x: &a [*a]"),
    ],
)
def test_deep_nesting_is_a_clear_error(tmp_path, name, text):
    with pytest.raises(ConfigError, match="nested deeper than 64 levels"):
        load(tmp_path, text, name)


def test_anchors_that_make_little_very_much_are_refused(tmp_path):
    lines = ["a0: &a0 [1, 2, 3, 4, 5, 6, 7, 8, 9]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10)]
    with pytest.raises(ConfigError, match="more than 100,000 values"):
        load(tmp_path, "\n".join(lines), "a.yaml")
