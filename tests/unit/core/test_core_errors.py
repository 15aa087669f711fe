"""The errors: the tree that is drawn is the tree that is there, and every error travels."""

import copy
import pickle
import re
from inspect import getmembers, isclass

import pytest

from batch_bridge import errors
from batch_bridge.errors import (
    BatchBridgeError,
    GraphChangedError,
    JSONError,
    ProviderUnavailable,
    RequestCancelled,
    RequestExpired,
    RequestFailed,
    RequestRefused,
    ResultPending,
    RunMismatchError,
    SubmissionRefused,
)

CLASSES = {
    name: cls
    for name, cls in getmembers(errors, isclass)
    if issubclass(cls, Exception) and cls.__module__ == errors.__name__
}
LINE = re.compile(r"^    (?P<indent>[ │├└─]*)(?P<name>[A-Z]\w+)(?: \((?P<also>\w+)\))?(?: .*)?$")


def drawn():
    """Return the tree of the module's docstring: name -> names of its bases."""
    bases, path = {}, {}
    for line in (errors.__doc__ or "").splitlines():
        if match := LINE.match(line):
            depth = len(match["indent"]) // 4
            path[depth] = match["name"]
            above = path[depth - 1] if depth else "Exception"
            bases[match["name"]] = (above, *([match["also"]] if match["also"] else []))
    return bases


def test_the_tree_in_the_docstring_is_the_real_one():
    assert drawn() == {name: tuple(base.__name__ for base in cls.__bases__) for name, cls in CLASSES.items()}


def test_everything_raised_on_purpose_is_a_batch_bridge_error():
    assert all(issubclass(cls, BatchBridgeError) for cls in CLASSES.values())


FULL = [
    errors.SubmittedThreadError("m", thread_id="t"),
    RequestFailed("m", request_id="r", code="c", status_code=429, retryable=True),
    RequestExpired("m", request_id="r", code="expired"),
    RequestCancelled("m"),
    ResultPending("m", request_id="r", status="queued"),
    RunMismatchError("m", index=3),
    GraphChangedError("m", thread_id="t", node="outer/inner"),
    JSONError("m", path="['a'][0]"),
    ProviderUnavailable("m", retry_after=1.5),
    SubmissionRefused("m", code="c", status_code=400),
    RequestRefused("m", code="item_too_large"),
]
PLAIN = [cls("m") for cls in CLASSES.values() if cls not in {type(each) for each in FULL}]


@pytest.mark.parametrize("error", [*FULL, *PLAIN], ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("travel", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])
def test_an_error_survives_the_journey_with_all_it_knows(error, travel):
    error.add_note("seen on the way")
    arrived = travel(error)
    assert type(arrived) is type(error)
    assert arrived.args == error.args
    assert vars(arrived) == vars(error)
    assert str(arrived) == "m"


@pytest.mark.parametrize("error", FULL, ids=lambda error: type(error).__name__)
def test_what_an_error_knows_is_documented(error):
    described = " ".join(cls.__doc__ or "" for cls in type(error).__mro__)
    assert all(f"{name}:" in described for name in vars(error) if not name.startswith("__"))
