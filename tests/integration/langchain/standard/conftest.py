"""What a plain model passes of LangChain's standard tests is noted here, and asked of its batched twin.

By default two of the kinds of models run, drawn by the seed; `--all` runs all.
"""

import inspect
from collections import defaultdict
from random import Random

import pytest
import sampling

OUTCOMES = defaultdict(dict)
"""How the tests of each kind of plain model have ended, by kind and name."""
NOTHING = "the plain model does not pass it, so there is nothing to compare"


def pytest_collection_modifyitems(config, items):
    kinds = sorted({item.cls.kind for item in items if hasattr(item.cls, "kind")})
    if not sampling.is_whole and not sampling.is_named(config):
        left_out = set(kinds) - set(Random(sampling.seed).sample(kinds, min(len(kinds), 2)))
        gone = [item for item in items if getattr(item.cls, "kind", None) in left_out]
        kept = set(items) - set(gone)
        items[:] = [item for item in items if item in kept]
        config.hook.pytest_deselected(items=gone)
    for item in items:
        if hasattr(item.cls, "kind") and inspect.iscoroutinefunction(item.function):
            # LangChain's models share their connections, so they need one loop for all
            item.add_marker(pytest.mark.asyncio(loop_scope="module"), append=False)


def pytest_runtest_setup(item):
    if not getattr(item.cls, "is_batched", False):
        return
    if (reason := item.cls.exceptions.get(item.originalname)) is not None:
        pytest.skip(reason)
    if OUTCOMES[item.cls.kind].get(item.name, "passed") != "passed":
        pytest.skip("the plain model does not pass it either")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if call.when == "call" and not getattr(item.cls, "is_batched", True):
        OUTCOMES[item.cls.kind][item.name] = report.outcome
        if report.failed:
            report.outcome, report.wasxfail = "skipped", NOTHING
    return report


@pytest.fixture(scope="session")
def outcomes():
    return OUTCOMES
