"""The lanes that a ladder names, and their order."""

import pytest

from batch_bridge._core.policy.lanes import LANES
from batch_bridge._core.policy.mode import resolve_ladder


def test_all_lanes_from_the_patient_to_the_quick_are_a_ladder():
    assert resolve_ladder(LANES, None, what="Bridge") == LANES
    assert resolve_ladder(["window:8h", "flex"], None, what="Bridge") == ("window:8h", "flex")


@pytest.mark.parametrize(
    ("given", "right"),
    [
        (["realtime", "batch"], "batch, realtime"),
        (["batch", "window:2h", "window:8h"], "batch, window:8h, window:2h"),
        (["flex", "window:2h", "realtime"], "window:2h, flex, realtime"),
    ],
)
def test_another_order_is_an_error_that_names_the_right_one(given, right, monkeypatch):
    with pytest.raises(ValueError, match=rf"^Bridge\(ladder=.*from the patient to the quick: {right}$"):
        resolve_ladder(given, None, what="Bridge")
    monkeypatch.setenv("BATCH_BRIDGE_MODE", ",".join(given))
    with pytest.raises(ValueError, match=rf"^BATCH_BRIDGE_MODE=.*from the patient to the quick: {right}$"):
        resolve_ladder(None, None, what="Bridge")
