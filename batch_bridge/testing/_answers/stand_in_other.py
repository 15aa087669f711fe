"""Stand-in answers that are no text: embeddings, moderations, images."""

import base64
import math
import struct
from hashlib import shake_256
from typing import Any

import orjson

from batch_bridge.testing._answers.asked import Question
from batch_bridge.testing._openai.stand_in import CREATED

DIMENSIONS = 1_536
MAX_DIMENSIONS = 8_192

_PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
_CATEGORIES = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)


def embeddings(asked: Question) -> dict[str, Any]:
    """One unit vector for each input; equal inputs have equal vectors."""
    what = asked.body["input"]
    inputs = what if isinstance(what, list) and what and not isinstance(what[0], int) else [what]
    size = asked.body.get("dimensions")
    size = min(size, MAX_DIMENSIONS) if isinstance(size, int) and size > 0 else DIMENSIONS
    as_text = asked.body.get("encoding_format") == "base64"
    data = []
    for index, one in enumerate(inputs):
        vector = unit_vector(orjson.dumps([asked.model, one]), size)
        shown: object = vector
        if as_text:
            shown = base64.b64encode(struct.pack(f"<{size}f", *vector)).decode()
        data.append({"object": "embedding", "index": index, "embedding": shown})
    usage = {"prompt_tokens": asked.tokens, "total_tokens": asked.tokens}
    return {"object": "list", "data": data, "model": asked.model, "usage": usage}


def unit_vector(seed: bytes, size: int) -> list[float]:
    """A unit vector, the same for the same seed."""
    numbers = struct.unpack(f"<{size}h", shake_256(seed).digest(2 * size))
    length = math.sqrt(sum(number * number for number in numbers)) or 1.0
    return [number / length for number in numbers]


def moderations(asked: Question) -> dict[str, Any]:
    """Nothing is ever flagged."""
    what = asked.body["input"]
    count = len(what) if isinstance(what, list) and all(isinstance(one, str) for one in what) else 1
    result = {
        "flagged": False,
        "categories": dict.fromkeys(_CATEGORIES, False),
        "category_scores": dict.fromkeys(_CATEGORIES, 0.0),
        "category_applied_input_types": {name: ["text"] for name in _CATEGORIES},
    }
    return {"id": f"modr-{asked.digest[:24]}", "model": asked.model, "results": [result] * count}


def images(asked: Question) -> dict[str, Any]:
    """An image of a single pixel."""
    count = asked.body.get("n")
    count = min(count, 10) if isinstance(count, int) and count > 0 else 1
    return {
        "created": CREATED,
        "data": [{"b64_json": _PIXEL}] * count,
        "usage": {
            "input_tokens": asked.tokens,
            "input_tokens_details": {"text_tokens": asked.tokens, "image_tokens": 0},
            "output_tokens": count,
            "total_tokens": asked.tokens + count,
        },
    }
