"""What is imported without the extra that it needs says what to install; the rest works without any extra."""

import json
import pickle
import subprocess
import sys

import pytest

from batch_bridge.errors import BatchBridgeError, MissingPackageError

SCRIPT = """
import importlib, json, pathlib, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.startswith(("anthropic", "google.genai", "starlette", "uvicorn", "python_multipart", "yaml", "tiktoken")):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocker())
told = {}

def attempt(name, function):
    try:
        function()
    except Exception as error:
        told[name] = [type(error).__name__, isinstance(error, ImportError), str(error)]
    else:
        told[name] = None

def importing(*names):
    for name in names:
        attempt(name, lambda: importlib.import_module(name))

importing("batch_bridge", "batch_bridge._cli.app", "batch_bridge.langchain", "batch_bridge.jobs", "batch_bridge.testing",
          "batch_bridge.providers.openai", "batch_bridge.providers.azure",
          "batch_bridge.providers.anthropic", "batch_bridge.providers.gemini", "batch_bridge.webhooks")
from batch_bridge import load_bridges
from batch_bridge.providers import create
from batch_bridge.providers.openai._tokenizer import Tokenizer
from batch_bridge.testing._server.serve import require_server
attempt("create anthropic", lambda: create("anthropic"))
attempt("create gemini", lambda: create("gemini"))
attempt("server", require_server)
pathlib.Path("bridges.yaml").write_text("bridges: {}")
attempt("yaml", lambda: load_bridges("bridges.yaml"))
attempt("tokens", lambda: Tokenizer()._read("gpt-4o"))
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=tmp_path_factory.mktemp("bare"),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


@pytest.mark.parametrize(
    "part",
    ["batch_bridge", "batch_bridge._cli.app", "batch_bridge.langchain", "batch_bridge.jobs", "batch_bridge.testing",
     "batch_bridge.providers.openai", "batch_bridge.providers.azure", "tokens"],
)  # fmt: skip
def test_what_needs_no_extra_works_without_any(told, part):
    assert told[part] is None


@pytest.mark.parametrize(
    ("part", "extra"),
    [
        ("batch_bridge.providers.anthropic", "anthropic"),
        ("batch_bridge.providers.gemini", "gemini"),
        ("create anthropic", "anthropic"),
        ("create gemini", "gemini"),
        ("server", "server"),
        ("batch_bridge.webhooks", "server"),
        ("yaml", "yaml"),
    ],
)
def test_a_part_without_its_extra_says_what_to_install(told, part, extra):
    assert f"pip install 'langgraph-batch-bridge[{extra}]'" in told[part][2]


@pytest.mark.parametrize("vendor", ["anthropic", "gemini"])
@pytest.mark.parametrize("how", ["batch_bridge.providers.{}", "create {}"])
def test_a_provider_without_its_sdk_is_an_import_error_of_ours(told, vendor, how):
    kind, is_import_error, message = told[how.format(vendor)]
    assert kind == "MissingPackageError"
    assert is_import_error
    assert "is not installed" in message


def test_the_error_travels():
    error = pickle.loads(pickle.dumps(MissingPackageError("m", name="anthropic")))
    assert isinstance(error, BatchBridgeError)
    assert str(error) == "m"
