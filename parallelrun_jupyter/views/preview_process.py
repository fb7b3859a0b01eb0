"""Shows failed items in little: a picture, the values of a row, the first lines of a text.

``python -m parallelrun_jupyter.views.preview_process`` reads a JSON array of items, ``{"path": path}``
or ``{"line": plan line, "position": row}`` (items of variables are unpickled from the user's own run
folder), and writes a JSON object for each as soon as it is made.
It is a process of its own, with limits, since an item that ended a worker may also end this one.
"""

from __future__ import annotations

import base64
import io
import json
import os
import reprlib
import resource
import stat
import sys
import zlib
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from ..worker.failures import BadInput
from ..worker.memory_items import PARTS, PICKLES, is_memory, load_memory, path_of
from ..worker.plan_line import PlanLine
from ..worker.tables.reader import load_table

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE = 96
PICTURE_BYTES = 8 * 1024
FILE_BYTES = 64 * 1024
"""Largest file that is a picture as it is, without Pillow."""

PICTURES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".gif": "image/gif",
    ".webp": "image/webp",
    ".bmp": "image/bmp",
}
_FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP")
"""Others, such as EPS, would start further programs."""

_FORMAT_WORDS = "a PNG, JPEG, GIF, WebP or BMP picture"

_PIXELS = 64_000_000
_MEMORY_BYTES = 4 << 30
_TABLE_BYTES = 16 << 20
_TABLE_ROWS = 200_000
_COLUMNS = 30
_VALUE_CHARS = 200
_TEXT_BYTES = 4096
_TEXT_LINES = 8
_LINE_CHARS = 200
_DETAIL_CHARS = 300
_PATH_CHARS = 4096
_DATA_ERRORS = (
    OSError, ValueError, SyntaxError, EOFError, LookupError, TypeError, AttributeError,
    ArithmeticError, MemoryError, RuntimeError, Warning, zlib.error,
)  # fmt: skip
"""Errors that Pillow and pandas raise for damaged data, depending on its format."""


def preview_of(item: dict[str, Any]) -> dict[str, Any]:
    """Return the outcome for an item, with its picture, values or text."""
    try:
        if "line" in item:
            line = PlanLine.decode(item["line"].encode("ascii"))
            return _row(line, item["position"], item.get("cwd", ""))
        return _file(item["path"])
    except FileNotFoundError:
        return {"outcome": "missing"}
    except (BadInput, *_DATA_ERRORS) as error:
        return _unreadable(error)


def _unreadable(error: Exception) -> dict[str, Any]:
    return {"outcome": "unreadable", "detail": _detail(error)}


def _detail(error: Exception) -> str:
    return (str(error) or type(error).__name__)[:_DETAIL_CHARS]


def _file(path: str) -> dict[str, Any]:
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):  # a pipe would be waited for
        return {"outcome": "none"}
    if not status.st_size:
        return {"outcome": "empty"}
    kind = PICTURES.get(os.path.splitext(path)[1].lower())
    if kind:
        return _picture(path, kind, status.st_size)
    return _text(path)


def _picture(path: str, kind: str, size: int) -> dict[str, Any]:
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        return _picture_as_it_is(path, kind, size)
    with open(path, "rb") as file:
        try:
            image = Image.open(file, formats=_FORMATS)
        except Image.DecompressionBombError:
            return {"outcome": "large"}
        except UnidentifiedImageError:
            return {"outcome": "unreadable", "detail": f"its content is not {_FORMAT_WORDS}"}
        image.draft("RGB", (2 * SIDE, 2 * SIDE))  # a JPEG is decoded at a fraction of its size
        if image.width * image.height > _PIXELS:
            return {"outcome": "large"}
        detail = ""
        try:
            image.load()
        except _DATA_ERRORS as error:
            detail = _detail(error)
            image.tile = []  # no further decoding: keep the part that was decoded
        is_transparent = "A" in image.getbands() or "transparency" in image.info
        thumbnail = image.convert("RGBA" if is_transparent else "RGB")
    thumbnail.thumbnail((SIDE, SIDE))
    if detail and _is_uniform(thumbnail):
        return {"outcome": "unreadable", "detail": detail}
    outcome = "partial" if detail else "shown"
    return {"outcome": outcome, "detail": detail, "picture": _encoded(thumbnail)}


def _is_uniform(image: Image) -> bool:
    """Return whether all pixels have the same color, as in a picture that was not decoded."""
    bands = image.split()
    return all(low == high for low, high in (band.getextrema() for band in bands))


def _encoded(image: Image) -> str:
    """Return a picture as a data URL of at most ``PICTURE_BYTES`` bytes; '' if it is larger."""
    data = io.BytesIO()
    image.save(data, "PNG", optimize=True)
    if data.tell() <= PICTURE_BYTES:
        return _data_url("image/png", data.getvalue())
    for quality in (80, 50, 20):
        data = io.BytesIO()
        image.convert("RGB").save(data, "JPEG", quality=quality)
        if data.tell() <= PICTURE_BYTES:
            return _data_url("image/jpeg", data.getvalue())
    return ""


def _picture_as_it_is(path: str, kind: str, size: int) -> dict[str, Any]:
    if size > FILE_BYTES:
        return {"outcome": "large"}
    with open(path, "rb") as file:
        return {"outcome": "shown", "picture": _data_url(kind, file.read(FILE_BYTES))}


def _data_url(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _text(path: str) -> dict[str, Any]:
    with open(path, "rb") as file:
        data = file.read(_TEXT_BYTES)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        if len(data) < _TEXT_BYTES or error.start < _TEXT_BYTES - 4:
            return {"outcome": "none"}
        text = data[: error.start].decode("utf-8")  # the limit cuts a character
    if any(char < " " and char not in "\t\n\r\f\x1b" for char in text):
        return {"outcome": "none"}
    lines = [line[:_LINE_CHARS] for line in text.splitlines()[:_TEXT_LINES]]
    return {"outcome": "shown", "text": "\n".join(lines)}


_frames: dict[bytes, Any] = {}


def _of_variable(line: PlanLine, cwd: str) -> dict[str, Any]:
    """Return the outcome for an item of a variable: its columns, or its text.

    The path of a picture is shown with the picture; ``cwd`` is the working directory of the script.
    """
    if line.ranges[0][1] - line.ranges[0][0] > _TABLE_ROWS:
        return {"outcome": "large"}
    if line.table["form"] in {PICKLES, PARTS} and os.stat(path_of(line)).st_uid != os.getuid():
        return {"outcome": "unreadable", "detail": "another user wrote its values"}
    items = load_memory(line)
    if hasattr(items, "to_pylist"):  # an Arrow table
        return _columns(list(items.to_pylist()[0].items()))
    if hasattr(items, "columns"):
        row = [items.iloc[0, k] for k in range(min(_COLUMNS, len(items.columns)))]
        shown = _columns(list(zip(items.columns, row, strict=False)))
        return {**shown, "columns_hidden": max(0, len(items.columns) - _COLUMNS)}
    item = items.iloc[0] if hasattr(items, "iloc") else items[0]
    if type(item) is dict:
        return _columns(list(item.items()))
    is_path = isinstance(item, PurePath)
    text = str(item) if is_path or isinstance(item, str) else reprlib.repr(item)
    lines = [part[:_LINE_CHARS] for part in text[:_TEXT_BYTES].splitlines()[:_TEXT_LINES]]
    shown = {"outcome": "shown", "text": "\n".join(lines)}
    if is_path or isinstance(item, str):
        shown |= _picture_at(text, cwd)
    return shown


def _picture_at(text: str, cwd: str) -> dict[str, Any]:
    """Return the picture at a path; nothing if the text is none of a picture on this machine."""
    if len(text) > _PATH_CHARS or os.path.splitext(text)[1].lower() not in PICTURES:
        return {}
    try:
        return _file(os.path.join(cwd, text))
    except _DATA_ERRORS:
        return {}


def _columns(cells: list[tuple[Any, Any]]) -> dict[str, Any]:
    return {
        "outcome": "shown",
        "columns": [[_cell(name), _cell(value)] for name, value in cells[:_COLUMNS]],
        "columns_hidden": max(0, len(cells) - _COLUMNS),
    }


def _cell(value: Any) -> str:
    text = value[:_VALUE_CHARS] if isinstance(value, str) else str(value)
    return text[:_VALUE_CHARS]


def _row(line: PlanLine, position: int, cwd: str) -> dict[str, Any]:
    if is_memory(line):
        return _of_variable(line, cwd)
    if _is_large(line):
        return {"outcome": "large"}
    key = line.encode()
    if key not in _frames:
        _frames.clear()
        _frames[key] = load_table(line)
    frame = _frames[key]
    names = frame.columns[:_COLUMNS]
    shown = _columns([(name, frame.iloc[position, k]) for k, name in enumerate(names)])
    return {**shown, "columns_hidden": max(0, len(frame.columns) - _COLUMNS)}


def _is_large(line: PlanLine) -> bool:
    """Return whether reading the rows of a mini-batch would take long."""
    size = 0
    if line.table.get("by") != "rows":
        size = sum(end - start for start, end in line.ranges)
    if line.table.get("is_whole"):  # a part of it is read from its start
        size += sum(map(os.path.getsize, line.paths))
    return line.rows > _TABLE_ROWS or size > _TABLE_BYTES


def main() -> None:
    """Write the preview of each item."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    for item in json.load(sys.stdin):
        sys.stdout.write(json.dumps(preview_of(item)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
