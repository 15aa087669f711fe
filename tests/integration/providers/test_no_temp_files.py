"""A directory for temporary files that is full, missing or read-only: the batch goes through memory."""

import errno
import tempfile

import pytest
from openai import AsyncOpenAI

from batch_bridge import Batcher
from batch_bridge.providers._shared.results.download import Download
from batch_bridge.providers._shared.results.temp_file import TempFile, TempFileError
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.testing import BatchServer

SHORT = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
BODY = {"model": "m", "messages": [{"role": "user", "content": "hello" * 1000}]}


@pytest.fixture(scope="module")
def server():
    with BatchServer() as running:
        yield running


@pytest.fixture
def missing(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/there/is/no/such/directory")


@pytest.fixture
def full(monkeypatch):
    """A real file that takes 3,000 bytes."""
    make = tempfile.TemporaryFile

    class Full:
        def __init__(self, **options):
            self._file = make(**options)

        def write(self, chunk):
            room = 3_000 - self._file.tell()
            if room <= 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return self._file.write(chunk[:room])

        def __getattr__(self, name):
            return getattr(self._file, name)

    monkeypatch.setattr(tempfile, "TemporaryFile", Full)


@pytest.mark.parametrize("disk", ["missing", "full"])
async def test_a_batch_goes_through_memory(request, server, disk):
    request.getfixturevalue(disk)
    client = AsyncOpenAI(base_url=server.base_url, api_key="k")
    async with Batcher(OpenAIBatch(client), poll_interval=0.02) as batcher:
        answers = await batcher.amap([BODY] * 3)
    assert all("choices" in each for each in answers)


@pytest.mark.parametrize("disk", ["missing", "full"])
async def test_results_go_through_memory(request, disk):
    request.getfixturevalue(disk)
    download = Download(held=1_000)
    lines = [b'{"number": %d, "text": "%s"}' % (number, b"x" * 50) for number in range(600)]
    for line in lines:
        await download.write(line + b"\n")
    assert [line async for line in download.lines(10_000)] == lines
    await download.close()


def test_what_fits_nowhere_is_an_error_that_says_what_to_do(missing):
    file = TempFile(most_in_memory=1_000)
    with pytest.raises(TempFileError, match="TMPDIR"):
        file.write(b"x" * 1_001)
