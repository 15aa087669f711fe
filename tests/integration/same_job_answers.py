"""What stands in for a model in the test that gives one job to all providers: it repeats what it was asked, in any form."""

import json
import re
from collections import Counter

from batch_bridge.testing import Answer

FAILS = re.compile(r"\[(\d{3}) (once|twice|always)\]")
TIMES = {"once": 1, "twice": 2, "always": 1_000}
TRIES: Counter[str] = Counter()


def answer(url, body):
    """Say what was asked and how often; fail as the question says."""
    TRIES[key := f"{url} {json.dumps(body, sort_keys=True)}"] += 1
    asked = read(url, body)
    if (fails := FAILS.search(asked["question"])) and TRIES[key] <= TIMES[fails[2]]:
        status = int(fails[1])
        return Answer(status, {"error": {"message": f"failed with {status}", "type": "stand_in", "code": None}})
    return said(**asked, attempts=TRIES[key])


def said(*, question, attempts, turns=1, system=None, temperature=None, most=256):
    """The text of an answer."""
    return f"{question} | turn {turns} | {system} | temperature {temperature} | at most {most} | try {attempts}"


def read(url, body):
    """A request of any provider's, in common words."""
    if "generateContent" in url:
        settings = body.get("generationConfig", {})
        turns = [each["parts"][0]["text"] for each in body["contents"]]
        system = body.get("systemInstruction", {}).get("parts", [{}])[0].get("text")
        temperature, most = settings.get("temperature"), settings.get("maxOutputTokens")
    else:
        temperature, most = body.get("temperature"), body.get("max_tokens")
        turns = [text_of(each["content"]) for each in body["messages"] if each["role"] != "system"]
        systems = [each["content"] for each in body["messages"] if each["role"] == "system"]
        system = text_of(body["system"]) if "system" in body else (systems or [None])[0]
    return {"question": turns[-1], "turns": len(turns), "system": system, "temperature": temperature, "most": most}


def text_of(content):
    return content if isinstance(content, str) else content[0]["text"]
