from dataclasses import fields

import pytest

from batch_bridge.testing import BatchServer, BatchServerError, Faults, Limits, ServerOptions, Settings


def test_the_typed_options_are_complete():
    assert set(ServerOptions.__annotations__) == set(Settings().options())


def test_options_go_round():
    settings = Settings().changed({"latency": 2, "line_failure": True, "max_lines": 7, "line_failure_status": 429})
    assert settings.latency == 2.0
    assert settings.faults.line_failure == 1.0
    assert settings.faults.line_failure_status == (429,)
    assert settings.limits.max_lines == 7
    assert Settings().changed(settings.options()) == settings


def test_names_are_unique_across_the_parts():
    names = [f.name for kind in (Settings, Faults, Limits) for f in fields(kind)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("latency", -1, "a number of seconds, 0 or more"),
        ("latency", "1", "a number of seconds"),
        ("latency", float("nan"), "a number of seconds"),
        ("line_failure", 1.5, "a share from 0 to 1"),
        ("unknown_status", "paused", "a share from 0 to 1"),
        ("line_failure_status", [200], "an HTTP status"),
        ("line_failure_status", [], "an HTTP status"),
        ("poll_error_status", 0, "an HTTP status from 400 to 599"),
        ("next_poll_error", -1, "a whole number"),
        ("max_lines", None, "a whole number"),
        ("enqueued_tokens", 1.5, "or None"),
        ("shuffle", 1, "True or False"),
        ("batch_failure_code", None, "a string"),
        ("webhook_url", 5, "a string, or None"),
        ("seed", "x", "a whole number"),
    ],
)
def test_a_wrong_value_says_what_the_option_takes(name, value, says):
    with pytest.raises(BatchServerError, match=f"{name}.*{says}"):
        Settings().changed({name: value})


def test_an_unknown_option_names_the_nearest():
    with pytest.raises(BatchServerError, match="'line_failures'; did you mean 'line_failure'"):
        BatchServer(line_failures=0.1)


def test_a_server_that_was_not_started_says_so():
    server = BatchServer()
    with pytest.raises(BatchServerError, match="has not been started"):
        _ = server.base_url
    with pytest.raises(BatchServerError, match="not running"):
        _ = server.pid
    server.close()
