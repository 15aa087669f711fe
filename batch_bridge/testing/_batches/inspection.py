"""What the provider checks about an input file while a batch is `validating`."""

import math
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import orjson

from batch_bridge.testing._batches.batch import problem
from batch_bridge.testing._batches.endpoints import EMBEDDINGS
from batch_bridge.testing._batches.form import answered_at, form_of
from batch_bridge.testing._server.switches.limits import Limits

MAX_PROBLEMS = 100
"""So many problems are reported; a file that is wrong throughout would otherwise fill the batch object."""

BYTES_PER_TOKEN = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What was found in a file.

    Attributes:
        problems: Entries for `errors.data`; none if the batch can run.
        offsets: Start and length of each line, in turn; blank lines are left out.
        model: The one model that all lines name, if they name one.
        tokens: About how many tokens the lines hold.
    """

    problems: tuple[dict[str, object], ...]
    offsets: "array[int]"
    model: str | None
    tokens: int

    @property
    def total(self) -> int:
        """How many requests the file holds."""
        return len(self.offsets) // 2


def inspect(lines: Iterable[bytes], *, endpoint: str, limits: Limits, model: str | None = None) -> Inspection:
    """Read a file line by line and check it; memory grows with the number of lines, not with their length.

    Args:
        lines: The file's.
        endpoint: The batch's.
        limits: The server's.
        model: That of lines that name none, if the create call has named it.
    """
    limits = form_of(endpoint).limits(limits)
    found = _Finder(endpoint, limits, model)
    position = 0
    offsets = array("Q")
    for number, line in enumerate(lines, 1):
        if line.strip():
            if len(offsets) // 2 >= limits.max_lines:
                found.add("too_many_tasks", f"The file holds more than {limits.max_lines} requests.", line=number)
                break
            offsets.extend((position, len(line)))
            found.line(number, line)
        position += len(line)
        if len(found.problems) >= MAX_PROBLEMS:
            break
    if not offsets:
        found.add("empty_file", "The input file is empty. It must hold at least one request.")
    if position > limits.max_file_bytes:
        found.add("file_too_large", f"The file is larger than {limits.max_file_bytes} bytes.")
    return Inspection(problems=tuple(found.problems), offsets=offsets, model=found.model or None, tokens=found.tokens)


def scan(lines: Iterable[bytes]) -> "array[int]":
    """Only the offsets, for a file that passed before."""
    position = 0
    offsets = array("Q")
    for line in lines:
        if line.strip():
            offsets.extend((position, len(line)))
        position += len(line)
    return offsets


class _Finder:
    """Collects problems over the lines of one file."""

    def __init__(self, endpoint: str, limits: Limits, model: str | None) -> None:
        self.endpoint = endpoint
        self.limits = limits
        self.form = form_of(endpoint)
        self.problems: list[dict[str, object]] = []
        self.model = self.form.model(endpoint) or model
        self.tokens = 0
        self._ids: set[str] = set()
        self._inputs = 0
        self._given = model

    def add(self, code: str, message: str, *, line: int | None = None, param: str | None = None) -> None:
        self.problems.append(problem(code, message, line=line, param=param))

    def line(self, number: int, raw: bytes) -> None:
        try:
            data = orjson.loads(raw)
        except orjson.JSONDecodeError:
            self.add("invalid_json_line", "This line is not parseable as valid JSON.", line=number)
            return
        if not isinstance(data, dict):
            self.add("invalid_json_line", "This line is not a JSON object.", line=number)
            return
        for param, kind in self.form.required:
            if data.get(param) is None:
                text = f"Missing required parameter: '{param}'."
                self.add("missing_required_parameter", text, line=number, param=param)
                return
            if not isinstance(data[param], kind):
                text = f"Invalid type for '{param}': expected {'an object' if kind is dict else 'a string'}."
                self.add("invalid_type", text, line=number, param=param)
                return
        self._request(number, self.form.read(data, self.endpoint))
        self.tokens += math.ceil(len(orjson.dumps(data[self.form.body])) / BYTES_PER_TOKEN)

    def _request(self, number: int, data: dict[str, Any]) -> None:
        custom_id, body, name = data["custom_id"], data["body"], self.form.custom_id
        if not custom_id:
            self.add("invalid_value", f"'{name}' must not be empty.", line=number, param=name)
        if custom_id in self._ids:
            text = f"The {name} '{custom_id}' is used by another line of this file; it must be unique."
            self.add(f"duplicate_{name}", text, line=number, param=name)
        self._ids.add(custom_id)
        if data["method"] != "POST":
            self.add("invalid_method", "Only the method 'POST' is supported.", line=number, param="method")
        if data["url"] != self.endpoint:
            text = f"The URL '{data['url']}' does not match the batch's endpoint '{self.endpoint}'."
            self.add("url_mismatch", text, line=number, param="url")
        if body.get("stream"):
            self.add("invalid_request", "A batch cannot stream.", line=number, param="body.stream")
        if self.form.model(self.endpoint) is None:
            self._one_model(number, body)
        if answered_at(self.endpoint) == EMBEDDINGS:
            self._embedding(number, body.get("input"))

    def _one_model(self, number: int, body: dict[str, Any]) -> None:
        model = body.get("model") if isinstance(body.get("model"), str) else self._given or ""
        if self.model is None:
            self.model = model
        elif model != self.model:
            text = f"The model '{model}' is not '{self.model}', as in the first line; a file holds one model."
            self.add("model_mismatch", text, line=number, param="body.model")

    def _embedding(self, number: int, what: object) -> None:
        many = isinstance(what, list) and bool(what) and not isinstance(what[0], int)
        before = self._inputs
        self._inputs += len(what) if many and isinstance(what, list) else 1
        if before <= self.limits.max_embedding_inputs < self._inputs:
            text = f"The file holds more than {self.limits.max_embedding_inputs} embedding inputs."
            self.add("too_many_inputs", text, line=number, param="body.input")
