"""Takes a multipart upload apart while it arrives; the file's content goes to disk and never into memory."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from batch_bridge._sqlite.private_files import open_new
from batch_bridge.testing._server.errors import WireError

MAX_FIELD_BYTES = 16_384
MAX_FIELDS = 100


@dataclass(slots=True)
class MultipartUpload:
    """A multipart form with one file.

    Attributes:
        fields: The form's plain fields by name.
        filename: The uploaded file's name, `None` if the form has no file.
        size: How many bytes of content were written.
    """

    fields: dict[str, str] = field(default_factory=dict)
    filename: str | None = None
    size: int = 0


async def receive(
    content_type: str | None, chunks: AsyncIterator[bytes], target: Path, *, max_bytes: int
) -> MultipartUpload:
    """Read a whole form; the content of its field `file` is written to `target`.

    Raises:
        WireError: It is no multipart form, or it is broken or too large. `target` may exist then.
    """
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise WireError(400, "The request must be multipart/form-data with a boundary.", code="invalid_content_type")
    with open_new(target) as out:
        form = _Form(out, max_bytes)
        try:
            parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": form.part_begin,
                    "on_header_field": form.header_field,
                    "on_header_value": form.header_value,
                    "on_header_end": form.header_end,
                    "on_headers_finished": form.headers_finished,
                    "on_part_data": form.part_data,
                    "on_part_end": form.part_end,
                    "on_end": form.end,
                },
            )
            async for chunk in chunks:
                parser.write(chunk)
            parser.finalize()
        except (FormParserError, UnicodeError, ValueError) as error:
            raise WireError(400, f"The multipart form cannot be read: {error}", code="invalid_form") from error
    if not form.ended:
        raise WireError(400, "The multipart form ends too early.", code="invalid_form")
    return form.upload


class _Form:
    def __init__(self, out: BinaryIO, max_bytes: int) -> None:
        self.upload = MultipartUpload()
        self.ended = False
        self._out = out
        self._max_bytes = max_bytes
        self._name = b""
        self._value = b""
        self._disposition = b""
        self._field: str | None = None
        self._in_file = False
        self._data = bytearray()

    def part_begin(self) -> None:
        self._disposition, self._name, self._value = b"", b"", b""
        self._field, self._in_file = None, False
        self._data.clear()

    def header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_end(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition = self._value
        self._name, self._value = b"", b""

    def headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._field = options.get(b"name", b"").decode()
        if b"filename" in options and self._field == "file" and self.upload.filename is None:
            self.upload.filename = options[b"filename"].decode(errors="replace") or "upload"
            self._in_file = True
        elif len(self.upload.fields) >= MAX_FIELDS:
            raise WireError(400, f"The form has more than {MAX_FIELDS} fields.", code="invalid_form")

    def part_data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self.upload.size += end - start
            if self.upload.size > self._max_bytes:
                raise WireError(
                    413,
                    f"The file is larger than {self._max_bytes} bytes.",
                    param="file",
                    code="file_too_large",
                )
            self._out.write(memoryview(data)[start:end])
        else:
            self._data += data[start:end]
            if len(self._data) > MAX_FIELD_BYTES:
                raise WireError(
                    400, f"A field of the form is longer than {MAX_FIELD_BYTES} bytes.", code="invalid_form"
                )

    def part_end(self) -> None:
        if not self._in_file and self._field:
            self.upload.fields[self._field] = self._data.decode()

    def end(self) -> None:
        self.ended = True
