"""Each of these tests has a working directory of its own: a `Runner` that is given no path makes `run.db` there."""

import pytest


@pytest.fixture(autouse=True)
def working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
