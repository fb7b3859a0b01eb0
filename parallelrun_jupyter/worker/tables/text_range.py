"""Ranges of text files: their bytes, decompressed and in UTF-8 where they have to be."""

from __future__ import annotations

import importlib
import io

from ..failures import BadInput

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any


class Decompressed(io.RawIOBase):
    """The content of a compressed file; whatever is wrong with it is an OSError."""

    def __init__(self, path: str, compression: str) -> None:
        super(Decompressed, self).__init__()
        try:
            self._file = self._open(path, compression)
        except OSError:
            raise
        except Exception as error:  # each module has its own
            raise OSError("%s (%s)" % (error, type(error).__name__))

    @staticmethod
    def _open(path: str, compression: str) -> Any:
        if compression != "zip":
            return importlib.import_module(compression).open(path, "rb")
        archive = importlib.import_module("zipfile").ZipFile(path)
        names = [name for name in archive.namelist() if not name.endswith("/")]
        if len(names) != 1:
            raise ValueError("the archive holds %d files; expected one" % len(names))
        return archive.open(names[0])

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes, fewer at the end only."""
        try:
            return bytes(self._file.read(size))
        except OSError:
            raise
        except Exception as error:  # each module has its own
            raise OSError("%s (%s)" % (error, type(error).__name__))

    def close(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()
        super(Decompressed, self).close()


def read_range(path: str, start: int, end: int) -> bytes:
    """Return bytes ``start`` to ``end`` of a file.

    Raises
    ------
    BadInput
        The file cannot be read, or is shorter.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            file.seek(start)
            data = file.read(end - start)
            while len(data) < end - start:
                more = file.read(end - start - len(data))
                if not more:
                    raise BadInput("the input %s ends at byte %d" % (path, start + len(data)))
                data += more
            return data
    except OSError as error:
        raise BadInput("the input %s could not be read: %s" % (path, error))


def encoding_hint(head: bytes, encoding: str) -> str:
    """Return what to do about a file that is not in its encoding, by its first bytes."""
    if encoding.startswith(("utf-16", "utf-32")):
        return "correct the file, or give its encoding="
    for mark, name in ((b"\xff\xfe\0\0", "utf32"), (b"\0\0\xfe\xff", "utf32"),
                       (b"\xff\xfe", "utf16"), (b"\xfe\xff", "utf16")):  # fmt: skip
        if head.startswith(mark):
            return "the file begins with the mark of another encoding: give encoding=%r" % name
    for start, name in ((1, "utf-16-le"), (0, "utf-16-be")):
        if head[start::2].count(0) > len(head) // 4:
            return "every second byte is zero, as in UTF-16: give encoding=%r" % name
    return "give the file's encoding="


def undecodable_byte(byte: int, offset: int, encoding: str, reason: str, head: bytes) -> str:
    """Return what is wrong with a byte that is not in the encoding of its file.

    Parameters
    ----------
    byte, offset
        The byte, and its place in the file.
    encoding, reason
        What it was read as, and why it cannot be.
    head
        The first bytes of the file.
    """
    return "the byte 0x%02x at offset %d is not %s (%s); %s" % (
        byte, offset, encoding, reason, encoding_hint(head, encoding)
    )  # fmt: skip


def zero_byte(offset: int, encoding: str, head: bytes) -> str:
    """Return what is wrong with a zero byte in a text file; the arguments are as above."""
    return "the byte at offset %d is zero, which is no text in %s; %s" % (
        offset, encoding, encoding_hint(head, encoding)
    )  # fmt: skip


class TextRange:
    """A range of a text file, in an encoding in which ASCII is ASCII.

    ``data`` is its text and ``encoding`` what that is in; ``byte`` turns an offset in it into one
    in the file, of decompressed content where the file is compressed.
    """

    def __init__(self, path: str, part: list[int], table: dict[str, Any]) -> None:
        self.path = path
        self.start, self._end = part
        self._given = table["encoding"]
        self._is_transparent = table.get("is_transparent", True)
        self._is_whole = table.get("is_whole", False)
        self.encoding = self._given if self._is_transparent else "utf-8"
        self._raw = self._read(part, table.get("compression", ""))
        self.data = self._raw if self._is_transparent else self._transcoded()
        if self._is_whole:
            self.data = self.data[part[0] : part[1]]
        if b"\0" in self.data:  # the parser would take it for the end of the field
            at = self.byte(self.data.index(b"\0"))
            raise BadInput("%s: %s" % (path, zero_byte(at, self._given, self._head())))

    def _read(self, part: list[int], compression: str) -> bytes:
        if not self._is_whole:
            return read_range(self.path, part[0], part[1])
        try:
            if compression:
                with Decompressed(self.path, compression) as file:
                    return file.read()
            with open(self.path, "rb") as plain:
                return plain.read()
        except (OSError, EOFError) as error:
            raise BadInput("the input %s could not be read: %s" % (self.path, error))

    def _transcoded(self) -> bytes:
        try:
            return self._raw.decode(self._given).encode("utf-8")
        except UnicodeDecodeError as error:
            raise self.undecodable(error)

    def undecodable(self, error: UnicodeDecodeError) -> BadInput:
        """Name the first byte that is not in the encoding."""
        at, reason = error.start, error.reason
        try:
            self._raw.decode(self._given)
        except UnicodeDecodeError as exact:  # pandas counts from the start of a chunk
            at, reason = exact.start, exact.reason
        base = 0 if self._is_whole else self.start
        what = undecodable_byte(self._raw[at], base + at, self._given, reason, self._head())
        return BadInput("%s: %s" % (self.path, what))

    def _head(self) -> bytes:
        """Return the first bytes of the file."""
        return self._raw[:64] if self._is_whole else read_range(self.path, 0, min(64, self._end))

    def byte(self, offset: int) -> int:
        """Return an offset in the text as one in the file."""
        if self._is_transparent or self._is_whole:
            return self.start + offset
        text = self.data[:offset].decode("utf-8", "replace")
        return self.start + len(text.encode(self._given, "replace"))
