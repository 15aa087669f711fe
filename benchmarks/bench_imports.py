"""What `import` costs: the CPU of a fresh Python that imports and ends, side by side with what it builds on."""

import argparse
import json
import statistics
import subprocess
import sys

PROGRAMS = {
    "nothing": "pass",
    "sdk": "import openai",
    "langgraph": "import langgraph.graph, langgraph.checkpoint.sqlite.aio",
    "bare": "import batch_bridge",
    "batcher": "import batch_bridge; batch_bridge.Batcher; import batch_bridge.providers.openai",
    "runner": "import batch_bridge; batch_bridge.Runner, batch_bridge.Bridge, batch_bridge.wait",
}
_SAID = "; import resource; u = resource.getrusage(resource.RUSAGE_SELF); print(u.ru_utime + u.ru_stime)"


def _seconds(program: str) -> float:
    done = subprocess.run([sys.executable, "-c", program + _SAID], capture_output=True, text=True, check=True)
    return float(done.stdout)


def compare(rounds: int) -> dict[str, float]:
    """Return medians: seconds of each program beyond a Python that imports nothing, and two ratios."""
    took: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for _ in range(rounds):
        for name, program in PROGRAMS.items():
            took[name].append(_seconds(program))
    seconds = {name: statistics.median(each) for name, each in took.items()}
    nothing = seconds.pop("nothing")
    own = {name: each - nothing for name, each in seconds.items()}
    return {**own, "batcher/sdk": own["batcher"] / own["sdk"], "runner/langgraph": own["runner"] / own["langgraph"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    print(json.dumps(compare(parser.parse_args().rounds), indent=1))


if __name__ == "__main__":
    main()
