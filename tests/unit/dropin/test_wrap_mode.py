"""The one switch: argument, environment, default; a typo in either is named."""

import pytest

from batch_bridge._core.policy.mode import resolve_mode


@pytest.mark.parametrize(
    ("argument", "environment", "mode"),
    [
        (None, None, "batch"),
        (None, "", "batch"),
        (None, "realtime", "realtime"),
        ("batch", "realtime", "batch"),
        ("realtime", "batch", "realtime"),
        ("batch", "typo", "batch"),
    ],
)
def test_the_argument_counts_before_the_environment(monkeypatch, argument, environment, mode):
    monkeypatch.delenv("BATCH_BRIDGE_MODE", raising=False)
    if environment is not None:
        monkeypatch.setenv("BATCH_BRIDGE_MODE", environment)
    assert resolve_mode(argument, what="Bridge") == mode


@pytest.mark.parametrize(
    ("argument", "environment", "message"),
    [
        ("real-time", None, r"Bridge\(mode='real-time'\) is not a mode; pass"),
        (None, "Batch", r"BATCH_BRIDGE_MODE='Batch' is not a mode; set it to"),
    ],
)
def test_a_typo_is_named_with_where_it_stands(monkeypatch, argument, environment, message):
    monkeypatch.delenv("BATCH_BRIDGE_MODE", raising=False)
    if environment is not None:
        monkeypatch.setenv("BATCH_BRIDGE_MODE", environment)
    with pytest.raises(ValueError, match=message):
        resolve_mode(argument, what="Bridge")
