"""What is told where an extra of this distribution is not installed. In a process of its own: imports are remembered."""

import subprocess
import sys

import pytest

BLOCK = """
import sys
from importlib.abc import MetaPathFinder

class Missing(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == MISSING or name.startswith(MISSING + "."):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
"""


def told_without(missing, code):
    """Run code where a package cannot be imported, and return the last line of what it says."""
    done = subprocess.run(
        [sys.executable, "-c", f"MISSING = {missing!r}\n{BLOCK}\n{code}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("missing", "code", "extra"),
    [
        ("anthropic", "import batch_bridge.providers.anthropic", "anthropic"),
        ("google.genai", "from batch_bridge.providers.gemini import GeminiBatch", "gemini"),
        ("google", "from batch_bridge.providers.gemini import GeminiBatch", "gemini"),
        ("anthropic", "from batch_bridge.providers import create; create('anthropic', model='m')", "anthropic"),
    ],
)
def test_a_missing_extra_is_named(missing, code, extra):
    assert f"pip install 'langgraph-batch-bridge[{extra}]'" in told_without(missing, code)
