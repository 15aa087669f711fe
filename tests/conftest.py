"""What all tests share: big tables run on a sample, and a test that hangs is named.

`--all` runs the tables whole, as `make test-all` does; `--sample-seed` draws another sample. A test that is asked for by its
name, or by `-k`, is never left out.
"""

import gc
import os
import shutil
import sys
import tempfile
from collections.abc import Generator, Sequence
from pathlib import Path

import forking
import hypothesis
import pytest
import sampling
import tls
import warm

from batch_bridge.testing._server import process as _process

sys.dont_write_bytecode = False
os.environ.pop(
    "PYTHONDONTWRITEBYTECODE", None
)  # else each of the hundreds of processes that tests start compiles everything again

tls.share()

IN_MEMORY = Path("/dev/shm")
if "TMPDIR" not in os.environ and os.access(IN_MEMORY, os.W_OK) and shutil.disk_usage(IN_MEMORY).free > 2 << 30:
    # Processes are killed in tests, and machines are not: nobody needs what thousands of commits wait for, a disk.
    os.environ["TMPDIR"] = tempfile.tempdir = str(IN_MEMORY)

HERE = Path(__file__).parent
PATIENCE = {"live": 100_000, "acceptance": 900, "server": 300, "integration": 300, "simulation": 300, "unit": 180}
"""Seconds after which a test hangs, by its directory. The slowest takes a tenth, so a busy machine makes none fail."""
ORDER = tuple(PATIENCE)
"""Slow files first: then workers that are given one file after the other end at about the same time."""
LONGEST = {"test_histories.py", "test_differential.py"}
"""Files that come before all others: each has a test that computes for half a minute or more."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--jobs", type=int, default=1, help="run the tests in so many processes (default: in this one)")
    group = parser.getgroup("samples of big tables")
    group.addoption("--all", action="store_true", help="run the big tables whole")
    group.addoption("--brief", action="store_true", help="draw a quarter of the examples, as `make test-quick` does")
    group.addoption("--sample-seed", type=int, default=0, help="draw another sample (default: 0)")


def pytest_configure(config: pytest.Config) -> None:
    sampling.is_whole, sampling.is_brief = config.getoption("--all"), config.getoption("--brief")
    sampling.seed = config.getoption("--sample-seed")
    examples = sampling.many(100, 40)
    hypothesis.settings.register_profile("patient", deadline=None, max_examples=examples)  # however busy the machine is
    hypothesis.settings.load_profile("patient")
    config.addinivalue_line(
        "markers", "sampled(least=, most=): a table, of which a sample runs unless `--all` is given"
    )

    if (jobs := config.getoption("--jobs")) > 1 and not config.option.usepdb:
        config.pluginmanager.register(forking.Forking(jobs))
    config.option.benchmark_disable = True  # LangChain's standard tests bring this plugin with them
    _process.spawn = warm.batch_server


def pytest_unconfigure() -> None:
    warm.WARM.close()


forking.before.append(warm.WARM.begin)


def pytest_report_header(config: pytest.Config) -> str:
    return "tables: whole" if sampling.is_whole else f"tables: a sample, --sample-seed={sampling.seed}"


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect without the garbage collector, and keep what was collected out of its sight: every full collection walks it."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.collect()
        gc.freeze()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: (item.path.name not in LONGEST, ORDER.index(_room(item))))
    if config.pluginmanager.hasplugin("timeout"):
        for item in items:
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(PATIENCE[_room(item)]))
    if sampling.is_whole or sampling.is_named(config):
        return
    tables: dict[tuple[Path, str], list[pytest.Function]] = {}
    for item in items:
        if isinstance(item, pytest.Function) and item.get_closest_marker("sampled") is not None:
            tables.setdefault((item.path, item.originalname), []).append(item)
    left_out: set[pytest.Item] = set()
    for (_, name), cells in tables.items():
        left_out |= set(cells) - _drawn(cells, name)
    if left_out:
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=sorted(left_out, key=lambda item: item.nodeid))


def _room(item: pytest.Item) -> str:
    return item.path.relative_to(HERE).parts[0]


def _drawn(cells: Sequence[pytest.Function], name: str) -> set[pytest.Item]:
    marker = cells[0].get_closest_marker("sampled")
    assert marker is not None
    rows = [tuple(cell.callspec.params.items()) for cell in cells]
    return {cells[place] for place in sampling.draw(rows, f"{sampling.seed} {name}", **marker.kwargs)}
