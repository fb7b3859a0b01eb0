"""Text files as blocks of bytes in which every byte below 128 is that ASCII character.

- UTF-8 and all single-byte encodings are like this: their blocks are used unchanged.
- UTF-16 and UTF-32 are transcoded to UTF-8 block by block. Offsets still count the file's own bytes,
  so that a mini-batch is a range of the file.
- Files that can only be read from their start (compressed ones, encodings with shift states) are one
  mini-batch each. Its offsets count the decompressed UTF-8 content.
"""

from __future__ import annotations

import codecs
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ...errors import InputError
from ...worker.tables.text_range import Decompressed, undecodable_byte, zero_byte

BLOCK_BYTES = 1 << 20
"""Text is read in blocks of this size: to find rows in one takes some ten times its memory.

It fits into a core's cache: blocks of twice the size take a sixth longer.
"""

_PROBE_BYTES = 1 << 16
_PROBED_BYTES = 1 << 22
"""Shorter files are read so soon that it is not worth a look at their later rows before."""

_FIRST_BLOCK_BYTES = 1 << 16
"""A small first block: many readers of a file need its header only."""

_SEVERAL = 8
"""So many lines must be invalid, and none with such characters valid, before a file counts as one of
another encoding."""

_COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".xz": "lzma", ".zip": "zip"}
_MARKS = {
    "utf-16": ((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be")),
    "utf-32": ((codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be")),
}
_WIDE = ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")
_ASCII_BELOW_48 = {"gbk", "gb2312", "gb18030", "big5", "shift_jis", "cp932", "cp949", "cp950",
                   "euc_jp", "euc_kr", "euc_jis_2004", "shift_jis_2004", "johab"}  # fmt: skip
"""Encodings whose second byte of a character is never below 48, nor one of ``: ; < = > ?``."""
_REPLACED = "\ufffd".encode()
"""The replacement of bytes that cannot be decoded, in blocks that are transcoded."""

_AZURE_NAMES = {"iso88591": "latin-1", "utf8bom": "utf-8", "windows1252": "cp1252"}
"""Azure's names of encodings that are not names in Python."""


def codec_name(encoding: str) -> str:
    """Return Python's name of an encoding.

    Parameters
    ----------
    encoding
        Any of its names in Python, or its name in Azure.

    Raises
    ------
    InputError
        The encoding is unknown.
    """
    try:
        name = codecs.lookup(_AZURE_NAMES.get(encoding.lower(), encoding)).name
        "".encode(name)  # fails for codecs that do not encode text, such as 'base64'
    except (LookupError, AttributeError, ValueError) as error:
        msg = f"unknown encoding {encoding!r}; use, for example, 'utf8' or 'latin-1'."
        raise InputError(msg) from error
    return "utf-8" if name == "utf-8-sig" else name


def compression_of(path: str) -> str:
    """Return the module that decompresses a file, by its suffix; empty for a plain file."""
    return _COMPRESSIONS.get(os.path.splitext(path)[1].lower(), "")


def _is_transparent(encoding: str, characters: str) -> bool:
    """Return whether the bytes of these ASCII characters and of line ends are never part of others."""
    if encoding in _ASCII_BELOW_48:
        return all(ord(c) < 48 or c in ":;<=>?" for c in characters)
    if encoding == "utf-8":
        return True
    try:
        return len(bytes(range(128, 256)).decode(encoding, "replace")) == 128 and (
            bytes(range(128)).decode(encoding) == bytes(range(128)).decode("ascii")
        )
    except UnicodeError:
        return False


@dataclass(frozen=True, slots=True)
class TextFile:
    """One text file, and how to interpret its bytes.

    Parameters
    ----------
    path, compression
        The file, and the module that decompresses it.
    encoding
        Python's name of the encoding, with the byte order for UTF-16 and UTF-32.
    is_transparent
        Whether every byte below 128 is that ASCII character; if not, blocks are transcoded to UTF-8.
    is_whole
        Whether the file can only be read from its start: it is one mini-batch, and offsets count its
        UTF-8 content.
    start
        The offset of the first character, after a byte order mark.
    """

    path: str
    compression: str
    encoding: str
    is_transparent: bool
    is_whole: bool
    start: int

    @property
    def content_encoding(self) -> str:
        """The encoding of the `blocks`."""
        return self.encoding if self.is_transparent else "utf-8"

    @property
    def keeps_offsets(self) -> bool:
        """Whether offsets in the `blocks` are offsets in the file."""
        return self.is_transparent or self.is_whole

    def table(self) -> dict[str, Any]:
        """Return the part of a plan line's table that `TextRange` needs."""
        table: dict[str, Any] = {"encoding": self.encoding}
        if self.compression:
            table["compression"] = self.compression
        if not self.is_transparent:
            table["is_transparent"] = False
        if self.is_whole:
            table["is_whole"] = True
        return table

    def blocks(self) -> Iterator[tuple[bytes, bool]]:
        """Yield (text, is_last): the content from ``start`` on. The last block may be empty.

        Raises
        ------
        OSError, EOFError
            The file cannot be read.
        """
        decode = None
        if not self.is_transparent:
            decode = codecs.getincrementaldecoder(self.encoding)("replace")
        skipped = self.start if self.is_whole and decode is not None else 0
        with _open(self.path, self.compression) as file:
            file.read(self.start - skipped)
            chunk = file.read(min(_FIRST_BLOCK_BYTES, BLOCK_BYTES))
            while True:
                following = file.read(BLOCK_BYTES) if chunk else b""
                is_last = not following
                if decode is None:
                    yield chunk, is_last
                else:
                    text = decode.decode(chunk, is_last).encode("utf-8", "replace")
                    yield text[skipped:], is_last
                    skipped = max(0, skipped - len(text))
                if is_last:
                    return
                chunk = following

    def head(self, start: int, size: int) -> bytes | None:
        """Return the content from an offset of the file on, with a line end at the end of the file.

        None if the file can only be read from its start, or its blocks are transcoded.

        Raises
        ------
        OSError
            The file cannot be read.
        """
        if self.is_whole or not self.is_transparent:
            return None
        with io.FileIO(self.path) as file:
            file.seek(start)
            data = file.read(size)
        return data + b"\n" if len(data) < size else data

    def probes(self, start: int) -> Iterator[bytes]:
        """Yield some lines from three later places of a long file, for which `head` is not None.

        The last place is the end of the file. The first line may be within a row.

        Raises
        ------
        OSError
            The file cannot be read.
        """
        size = os.path.getsize(self.path) - start
        if size < _PROBED_BYTES:
            return
        with io.FileIO(self.path) as file:
            for third in (1, 2, 3):
                file.seek(start + max(0, size * third // 3 - _PROBE_BYTES))
                data = file.read(_PROBE_BYTES)
                data += b"\n" if third == 3 else b""  # the last row may lack its line end
                yield data[data.find(b"\n") + 1 : data.rfind(b"\n") + 1]

    def check_encoding(self, start: int) -> None:
        """Check, from an offset on, that the first lines are not in another encoding.

        They are if several lines have characters beyond ASCII, and none of these lines is valid. Of
        other files only the rows with invalid bytes fail, when they are read.

        Raises
        ------
        ValueError
            They are; the message names the first byte that is not valid.
        OSError
            The file cannot be read.
        """
        text = self.head(start, _FIRST_BLOCK_BYTES)
        if text is None or text.isascii():
            return
        lines = [line for line in text.splitlines() if not line.isascii()]
        if len(lines) >= _SEVERAL and not any(map(self._is_valid, lines)):
            self.check_text(text, start + len(text))

    def _is_valid(self, text: bytes) -> bool:
        try:
            text.decode(self.encoding)
        except UnicodeDecodeError:
            return False
        return True

    def check_text(self, text: bytes, end: int) -> None:
        """Check that a part of the content is valid in the encoding, and has no zero byte.

        Parameters
        ----------
        text, end
            The part, as `blocks` yields it, and the offset in the file after it.

        Raises
        ------
        ValueError
            The content is not valid; the message gives the offset.
        """
        begin = end - self._size_of(text)
        try:
            if self.is_transparent:
                text.decode(self.encoding)
            elif _REPLACED in text:
                begin = 0
                self._from_start(None if self.is_whole else end).decode(self.encoding)
        except UnicodeDecodeError as error:
            byte, at = error.object[error.start], begin + error.start
            msg = undecodable_byte(byte, at, self.encoding, error.reason, self._from_start(64))
            raise ValueError(msg) from error
        if b"\0" in text:
            at = begin + self._size_of(text[: text.index(b"\0")])
            raise ValueError(zero_byte(at, self.encoding, self._from_start(64)))

    def _size_of(self, text: bytes) -> int:
        """Return the number of bytes in the file of a part of its content."""
        if self.keeps_offsets:
            return len(text)
        return len(text.decode("utf-8").encode(self.encoding))

    def _from_start(self, size: int | None) -> bytes:
        with _open(self.path, self.compression) as file:
            return file.read(-1 if size is None else size) or b""

    def places(self, data: bytes, ends: Any) -> Any:
        """Convert offsets in a block's text to offsets in the file, both from the block's start."""
        if self.keeps_offsets:
            return ends
        import numpy as np

        array = np.frombuffer(data, np.uint8)
        units = (array & 0xC0) != 0x80  # one for each character, in the first of its bytes
        if self.encoding.startswith("utf-32"):
            counts = np.cumsum(units, dtype=np.int64) * 4
        else:
            # A character of four bytes in UTF-8 is a surrogate pair in UTF-16.
            counts = np.cumsum(units.astype(np.int64) + (array >= 0xF0)) * 2
        return counts[ends - 1]


def _open(path: str, compression: str) -> io.RawIOBase:
    return Decompressed(path, compression) if compression else io.FileIO(path)


def text_file(path: str, encoding: str, characters: str) -> TextFile:
    """Inspect a file's name and first bytes.

    Parameters
    ----------
    path
        A local file.
    encoding
        Its encoding, as returned by `codec_name`.
    characters
        The ASCII characters with a meaning: separator, quote and escape.

    Raises
    ------
    OSError, EOFError, ValueError
        The file cannot be read.
    """
    compression = compression_of(path)
    with _open(path, compression) as file:
        head = file.read(8)
    is_transparent = _is_transparent(encoding, characters)
    start = 0
    if not compression:
        for mark, exact in _MARKS.get(encoding, ()):
            if head.startswith(mark):
                encoding, start = exact, len(mark)
                break
        encoding = f"{encoding}-le" if encoding in _MARKS else encoding
    is_whole = bool(compression) or not (is_transparent or encoding in _WIDE)
    # pandas drops one byte order mark at the start of the decoded text, in every encoding.
    if encoding in _WIDE and not is_whole:
        mark = "\ufeff".encode(encoding)
        start += len(mark) if head.startswith(mark, start) else 0
    elif encoding == "utf-8" or not is_transparent:
        text = codecs.getincrementaldecoder(encoding)("replace").decode(head)
        start = 3 if text.startswith("\ufeff") else 0
    return TextFile(path, compression, encoding, is_transparent, is_whole, start)
