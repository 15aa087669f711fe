"""What an import costs: nothing is loaded before it is used, and the public names stay where they are."""

import subprocess
import sys

import pytest

HEAVY = ("langgraph", "langchain_core", "openai", "anthropic", "google.genai", "httpx", "starlette", "pydantic")
SCRIPT = "import sys; {0}; print(*[each for each in sys.argv[1:] if each in sys.modules])"
PUBLIC = """
from batch_bridge import Batcher, Bridge, FlushPolicy, Jobs, Runner, gather, load_bridges, wait, wait_many, wrap_openai
from batch_bridge.batcher import Batcher
from batch_bridge.bridge import Bridge
from batch_bridge.errors import BatchBridgeError
from batch_bridge.events import Event
from batch_bridge.jobs import Jobs
from batch_bridge.langchain import batched
from batch_bridge.providers import create
from batch_bridge.providers.anthropic import AnthropicBatch
from batch_bridge.providers.azure import AzureOpenAIBatch
from batch_bridge.providers.gemini import GeminiBatch
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.runner import Runner
from batch_bridge.testing import BatchServer
from batch_bridge.testing.conformance import BEHAVIOURS
"""


def loaded(statement):
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(statement), *HEAVY], capture_output=True, text=True, check=True, timeout=60
    )
    return set(ran.stdout.split())


@pytest.mark.parametrize(
    "statement", ["import batch_bridge", "import batch_bridge.testing", "import batch_bridge._cli.app"]
)
def test_these_load_nothing_heavy(statement):
    assert not loaded(statement)


@pytest.mark.parametrize(
    ("provider", "others"),
    [
        ("openai", {"anthropic", "google.genai"}),
        ("anthropic", {"openai", "google.genai"}),
        ("gemini", {"openai", "anthropic"}),
    ],
)
def test_a_provider_loads_its_own_sdk_alone(provider, others):
    assert not loaded(f"import batch_bridge.providers.{provider}") & {*others, "langgraph"}


@pytest.mark.parametrize("line", PUBLIC.strip().splitlines())
def test_the_public_names_are_where_they_were(line):
    here: dict[str, object] = {}
    exec(line, here)
    assert len(here) > 1


@pytest.mark.parametrize("arguments", [[], ["jobs"], ["status"], ["serve"]])
def test_help_waits_for_nothing_but_the_command_line(arguments):
    """`batch-bridge --help` is to cost less than 0.4 s of CPU: it was rich that took half of it."""
    script = (
        "import sys\n"
        "from batch_bridge._cli.app import app\n"
        f"app([*{arguments!r}, '--help'], standalone_mode=False)\n"
        "print(*sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    said, _, names = ran.stdout.strip().rpartition("\n")
    assert said.strip().startswith("Usage: ")
    modules = set(names.split())
    rooms = {each.split(".")[1] for each in modules if each.startswith("batch_bridge.")}
    assert rooms <= {"_cli", "_core", "errors"}
    assert not modules & {"asyncio", "http.client", "sqlite3", "rich", "batch_bridge._core.models"}
