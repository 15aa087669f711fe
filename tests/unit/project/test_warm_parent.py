"""The warm Python of the tests outlives the test that has started it."""

import warm


def test_the_folder_in_which_it_was_started_may_go(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    parent = warm.Warm()
    try:
        assert parent.run(["-c", "print(1)"], imports=[], cwd=tmp_path).stdout == "1\n"
        monkeypatch.chdir(tmp_path)
        gone.rmdir()
        done = parent.run(["-c", "print(2)"], imports=["hypothesis"], cwd=tmp_path)  # its import asks where it is
    finally:
        parent.close()
    assert done.stdout == "2\n"
