"""Reads byte ranges of text files, decompressed and transcoded to UTF-8 if necessary."""

from __future__ import annotations

import importlib
import io

from ..failures import BadInput

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any


class Decompressed(io.RawIOBase):
    """The content of a compressed file. Every error of the decompressor is raised as an OSError."""

    def __init__(self, path: str, compression: str) -> None:
        super(Decompressed, self).__init__()
        try:
            self._file = self._open(path, compression)
        except OSError:
            raise
        except Exception as error:  # each module has its own exceptions
            raise OSError("%s (%s)" % (error, type(error).__name__))

    @staticmethod
    def _open(path: str, compression: str) -> Any:
        if compression != "zip":
            return importlib.import_module(compression).open(path, "rb")
        archive = importlib.import_module("zipfile").ZipFile(path)
        names = [name for name in archive.namelist() if not name.endswith("/")]
        if len(names) != 1:
            raise ValueError("the archive contains %d files; expected one" % len(names))
        return archive.open(names[0])

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes; fewer than ``size`` only at the end."""
        try:
            return bytes(self._file.read(size))
        except OSError:
            raise
        except Exception as error:  # each module has its own exceptions
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
    """Return advice about a file that is not in ``encoding``, judging by its first bytes."""
    if encoding.startswith(("utf-16", "utf-32")):
        return "correct the file, or give its encoding="
    for mark, name in ((b"\xff\xfe\0\0", "utf32"), (b"\0\0\xfe\xff", "utf32"),
                       (b"\xff\xfe", "utf16"), (b"\xfe\xff", "utf16")):  # fmt: skip
        if head.startswith(mark):
            return "the file begins with the mark of another encoding: give encoding=%r" % name
    for start, name in ((1, "utf-16-le"), (0, "utf-16-be")):
        if head[start::2].count(0) > len(head) // 4:
            return "every second byte is zero, as in UTF-16: give encoding=%r" % name
    return "give the file's encoding=, such as encoding='latin1' (or the option --encoding latin1)"


def undecodable_byte(byte: int, offset: int, encoding: str, reason: str, head: bytes) -> str:
    """Return the message for a byte that is not valid in the encoding of its file.

    Parameters
    ----------
    byte, offset
        The byte, and its offset in the file.
    encoding, reason
        The encoding, and the decoder's reason.
    head
        The first bytes of the file.
    """
    return "the byte 0x%02x at offset %d is not %s (%s); %s" % (
        byte, offset, encoding, reason, encoding_hint(head, encoding)
    )  # fmt: skip


def zero_byte(offset: int, encoding: str, head: bytes) -> str:
    """Return the message for a zero byte in a text file; parameters as for `undecodable_byte`."""
    return "the byte at offset %d is zero, which is not text in %s; %s" % (
        offset, encoding, encoding_hint(head, encoding)
    )  # fmt: skip


class TextRange:
    """A range of a text file, as bytes in which every byte below 128 is that ASCII character.

    Parameters
    ----------
    path
        The file.
    range_
        Start and end of the range: offsets in the file, or in its decompressed UTF-8 content if the
        table has ``is_whole``.
    table
        ``encoding``, and optionally ``compression``, ``is_transparent`` (False: transcode to UTF-8)
        and ``is_whole`` (the file can only be read from its start).
    is_for_parts
        Whether only the parts that `keep` chooses are read: zero bytes elsewhere are ignored.

    Attributes
    ----------
    data, encoding
        The text and its encoding.
    """

    def __init__(
        self, path: str, range_: list[int], table: dict[str, Any], *, is_for_parts: bool = False
    ) -> None:
        self.path = path
        self._parts = []  # type: list[tuple[int, int]]
        self._all = b""  # the text that the parts are of, if it was transcoded
        self.start, self._end = range_
        self._file_encoding = table["encoding"]
        self._is_transparent = table.get("is_transparent", True)
        self._is_whole = table.get("is_whole", False)
        self.encoding = self._file_encoding if self._is_transparent else "utf-8"
        self._raw = self._read(table.get("compression", ""))
        self.data = self._raw if self._is_transparent else self._transcoded()
        if self._is_whole:
            self.data = self.data[self.start : self._end]
        if not is_for_parts:
            self._refuse_zeros()

    def keep(self, parts: list[tuple[int, int]]) -> None:
        """Keep only parts of the text: the start and the end of each, in order."""
        self._parts = parts
        if not (self._is_transparent or self._is_whole):
            self._all = self.data
        self.data = b"".join(self.data[start:end] for start, end in parts)
        self._raw = self.data
        self._refuse_zeros()

    def _refuse_zeros(self) -> None:
        if b"\0" in self.data:  # the parser would end the field there
            at = self.file_offset(self.data.index(b"\0"))
            raise BadInput("%s: %s" % (self.path, zero_byte(at, self._file_encoding, self._head())))

    def _read(self, compression: str) -> bytes:
        if not self._is_whole:
            return read_range(self.path, self.start, self._end)
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
            return self._raw.decode(self._file_encoding).encode("utf-8")
        except UnicodeDecodeError as error:
            raise self.undecodable(error)

    def undecodable(self, error: UnicodeDecodeError) -> BadInput:
        """Return the error that names the first byte that is not valid in the encoding."""
        at, reason = error.start, error.reason
        try:
            self._raw.decode(self._file_encoding)
        except UnicodeDecodeError as exact:  # pandas counts from the start of a chunk
            at, reason = exact.start, exact.reason
        offset = at if self._is_whole else self.start + at
        if self._parts:
            offset = self.file_offset(at)
        message = undecodable_byte(self._raw[at], offset, self._file_encoding, reason, self._head())
        return BadInput("%s: %s" % (self.path, message))

    def _head(self) -> bytes:
        """Return the first bytes of the file."""
        return self._raw[:64] if self._is_whole else read_range(self.path, 0, min(64, self._end))

    def file_offset(self, offset: int) -> int:
        """Return the offset in the file (in the content of a compressed one) of an offset in ``data``."""
        for start, end in self._parts:
            if offset < end - start:
                offset += start
                break
            offset -= end - start
        if self._is_transparent or self._is_whole:
            return self.start + offset
        text = (self._all or self.data)[:offset].decode("utf-8", "replace")
        return self.start + len(text.encode(self._file_encoding, "replace"))
