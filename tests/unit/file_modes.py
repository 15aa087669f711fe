"""What others may do with files, where the user's umask is the usual one."""

import os
import stat

import pytest

OTHERS = 0o077


@pytest.fixture(autouse=True)
def usual_umask():
    before = os.umask(0o022)
    yield
    os.umask(before)


def open_to_others(folder):
    """Every file and folder below that anybody but its owner may do something with."""
    return sorted(
        str(path.relative_to(folder)) for path in folder.rglob("*") if stat.S_IMODE(path.lstat().st_mode) & OTHERS
    )
