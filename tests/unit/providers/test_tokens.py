"""Counting tokens: in a thread, with what is on this machine, or not at all."""

import hashlib
import threading

import pytest
from fakes import request

from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.providers.openai import _tokenizer as _tokens
from batch_bridge.providers.openai._tokenizer import Tokenizer

BODY = {"model": "gpt-4o", "messages": [{"role": "user", "content": "one two"}], "tools": [{"name": "three"}], "n": 1}


class Words:
    """An encoding with a token for each word."""

    def encode_ordinary(self, text):
        return list(range(len(text.split())))


def counted(tokenizer, model, body):
    """Ask until the encoding has been read."""
    assert tokenizer.count(model, body) is None, "nobody waits for an encoding"
    for thread in threading.enumerate():
        if thread.name == "batch-bridge-tokens":
            thread.join()
    return tokenizer.count(model, body)


def test_the_texts_of_a_body_are_counted():
    asked = []
    tokenizer = Tokenizer(lambda model: asked.append(model) or Words())
    assert counted(tokenizer, "gpt-4o", BODY) == len(["gpt-4o", "user", "one", "two", "three"])
    tokenizer.count("gpt-4o", BODY)
    assert asked == ["gpt-4o"], "read once"


def test_a_long_text_is_taken_to_go_on_as_it_begins():
    tokenizer = Tokenizer(lambda _: Words())
    assert counted(tokenizer, "m", "word " * 8000) == pytest.approx(8000, rel=0.01)


def test_a_model_without_an_encoding_is_not_counted():
    assert counted(Tokenizer(lambda _: None), "claude", BODY) is None


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4.1-nano", "gpt-oss-20b", "gpt-4-turbo", "somebody-elses", "davinci"])
def test_an_encoding_that_is_not_on_the_disk_is_not_fetched(model, monkeypatch, tmp_path):
    tiktoken = pytest.importorskip("tiktoken")
    monkeypatch.setattr(tiktoken, "get_encoding", lambda name: pytest.fail(f"{name} would be fetched"))
    monkeypatch.delenv("DATA_GYM_CACHE_DIR", raising=False)
    for folder in (str(tmp_path), ""):
        monkeypatch.setenv("TIKTOKEN_CACHE_DIR", folder)
        assert _tokens._load(model) is None


def test_an_encoding_on_the_disk_is_used(monkeypatch, tmp_path):
    tiktoken = pytest.importorskip("tiktoken")
    monkeypatch.setattr(tiktoken, "get_encoding", lambda name: name)
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    url = "https://openaipublic.blob.core.windows.net/encodings/o200k_base.tiktoken"
    (tmp_path / hashlib.sha1(url.encode(), usedforsecurity=False).hexdigest()).touch()
    assert _tokens._load("gpt-4o") == "o200k_base"
    assert _tokens._load("gpt-4") is None


def test_the_provider_counts_a_requests_tokens():
    tokenizer = Tokenizer(lambda _: Words())
    assert counted(tokenizer, "gpt-4o", BODY)
    asked = request(0, **BODY)
    provider = OpenAIBatch()
    provider._tokenizer = tokenizer
    assert provider.tokens(asked) == tokenizer.count("gpt-4o", asked.item)
