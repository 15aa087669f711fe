"""A configuration file names a lane."""

from datetime import timedelta

import pytest

from batch_bridge import load_bridges
from batch_bridge.errors import ConfigError

TABLE = '[bridges.night]\nmode = "{mode}"\n[bridges.night.provider]\nname = "{name}"\nmodel = "m"\n'


def load(tmp_path, **fields):
    path = tmp_path / "bridges.toml"
    path.write_text(TABLE.format(**fields))
    return load_bridges(path)


@pytest.mark.parametrize("mode", ["batch", "window:8h", "window:2h", "flex", "realtime"])
def test_every_lane_can_be_named(tmp_path, mode):
    assert load(tmp_path, mode=mode, name="openai")["night"].mode == mode


def test_a_lane_that_the_provider_lacks_is_an_error_that_lists_those_it_has(tmp_path):
    with pytest.raises((ConfigError, ValueError), match=r"no lane 'flex'; its lanes are 'batch', 'realtime'"):
        load(tmp_path, mode="flex", name="anthropic")


def test_a_ladder_can_be_named(tmp_path):
    path = tmp_path / "bridges.toml"
    text = TABLE.replace('mode = "{mode}"', 'ladder = ["batch", "flex", "realtime"]\ndeadline = "3h"')
    path.write_text(text.format(name="openai"))
    bridge = load_bridges(path)["night"]
    assert (bridge.ladder, bridge.deadline) == (("batch", "flex", "realtime"), timedelta(hours=3))
