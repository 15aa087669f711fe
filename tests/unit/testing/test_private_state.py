"""The state of a Batch API server is for its owner only, and is never written through a link."""

import os
import stat

import pytest
from file_modes import open_to_others, usual_umask  # noqa: F401  # a fixture

from batch_bridge._sqlite.private_files import open_new, touch
from batch_bridge.testing import BatchServerError
from batch_bridge.testing._batches.database import Database

pytestmark = pytest.mark.skipif(os.name != "posix", reason="modes and links as POSIX has them")


def test_the_servers_folder_and_all_in_it_are_for_the_owner(tmp_path):
    database = Database(tmp_path / "state")
    try:
        with open_new(database.contents / "file-1") as out:
            out.write(b"prompt")
        database.keep([b"prompt"], "batch-1")
        database.snapshot(database.contents / "file-1", "batch-2")
        touch(database.contents / "file-2")
        assert open_to_others(tmp_path) == []
    finally:
        database.close()


def test_a_folder_that_the_user_names_keeps_its_mode_and_ours_inside_do_not(tmp_path):
    tmp_path.chmod(0o755)
    for name in ("files", "inputs"):
        (tmp_path / name).mkdir(mode=0o755)
    Database(tmp_path).close()
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755
    assert open_to_others(tmp_path) == []


@pytest.mark.parametrize("name", ["", "files", "inputs", "server.db", "server.lock"])
def test_no_link_is_followed_to_the_servers_state(tmp_path, name):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    state = tmp_path / "state"
    if name:
        state.mkdir()
    (state / name if name else state).symlink_to(elsewhere)
    with pytest.raises(BatchServerError, match="symbolic link"):
        Database(state)
    assert list(elsewhere.iterdir()) == []
