"""Bounds of the answers to an agent: their size, credentials, and characters that move a cursor."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

from ...formatting import looks_secret
from ...views.text import plain

LIMIT_BYTES = 20_000
"""Maximum size of the text of an answer, and of its fields as JSON, in bytes."""

TEXT_CHARS = 4000
"""Maximum length of one text among the fields, such as a traceback."""

_LEAST_SECRET_CHARS = 8
_LEAST_TEXT_CHARS = 100
_REMARK_CHARS = 60
_IN_URL = re.compile(
    r"([?&](?:sig|signature|token|access_token|sas|key|api_key|apikey|code|password)=)[^&\s\"'<>]+",
    re.IGNORECASE,
)
_USER_IN_URL = re.compile(r"(\w://)[^/\s:@\"']+:[^/\s@\"']+@")


def without_secrets(text: str, environ: Mapping[str, str] = os.environ) -> str:
    """Return a text without credentials: secrets among the variables, and those in addresses.

    A variable is secret if its name looks so, as it is for the record of a run.
    """
    for name, value in environ.items():
        if len(value) >= _LEAST_SECRET_CHARS and looks_secret(name):
            text = _without(text, value, f"<value of {name}>")
    return _USER_IN_URL.sub(r"\1<hidden>@", _IN_URL.sub(r"\1<hidden>", text))


def _without(text: str, secret: str, name: str) -> str:
    """Return a text without a secret, also where a half of it or more is at the cut of a text."""
    text = text.replace(secret, name)
    if secret.startswith("/") or "://" in secret:  # halves of these are in many texts
        return text
    half = max(_LEAST_SECRET_CHARS, (len(secret) + 1) // 2)
    lengths = range(len(secret) - 1, half - 1, -1)
    if secret[:half] in text:
        for length in lengths:
            text = text.replace(secret[:length], name)
    if secret[-half:] in text:
        for length in lengths:
            text = text.replace(secret[-length:], name)
    return text


def shown(text: str) -> str:
    """Return a user's text with its lines, without control characters and credentials."""
    return without_secrets("\n".join(map(plain, text.split("\n"))))


def clean(value: Any) -> Any:
    """Return a JSON value whose texts are `shown`, each of at most `TEXT_CHARS`."""
    if isinstance(value, str):
        return shortened(shown(value), TEXT_CHARS)
    if isinstance(value, Mapping):
        return {shown(str(key)): clean(each) for key, each in value.items()}
    if isinstance(value, Sequence):
        return [clean(each) for each in value]
    return value


def shortened(text: str, limit: int) -> str:
    """Return a text of at most ``limit`` characters, with a remark in place of its middle."""
    if len(text) <= limit:
        return text
    kept = max(0, limit - _REMARK_CHARS)
    remark = f"\n... {len(text) - kept:,} characters left out ...\n"
    return f"{text[: kept // 2]}{remark}{text[len(text) - (kept - kept // 2) :]}"


def bounded_text(text: str, more: str, *, keeps_end: bool = False) -> str:
    """Return a text of at most `LIMIT_BYTES`: whole lines, and how to get the others.

    Parameters
    ----------
    more
        How to get the rest, in a sentence.
    keeps_end
        Leave out the first lines. Default: the last ones.
    """
    if len(text.encode()) <= LIMIT_BYTES:
        return text
    lines = [shortened(line, TEXT_CHARS) for line in text.split("\n")]
    if len("\n".join(lines).encode()) <= LIMIT_BYTES:
        return "\n".join(lines)
    room = LIMIT_BYTES - len(more.encode()) - 100
    kept: list[str] = []
    for line in reversed(lines) if keeps_end else lines:
        room -= len(line.encode()) + 1
        if room < 0:
            break
        kept.append(line)
    remark = f"[{len(lines) - len(kept):,} of {len(lines):,} lines left out. {more}]"
    return "\n".join([remark, *kept[::-1]] if keeps_end else [*kept, remark])


def bounded_fields(
    fields: Mapping[str, Any], *, keeps_end: bool = False
) -> tuple[dict[str, Any], int]:
    """Return clean fields of at most `LIMIT_BYTES` as JSON, and the number of elements left out.

    Elements leave the longest list first, at its end, or at its start with ``keeps_end``. Texts are
    shortened only if that is not enough.
    """
    result = clean(fields)
    left_out = 0
    while size_of(result) > LIMIT_BYTES:
        lists = [name for name, value in result.items() if isinstance(value, list) and value]
        if not lists:
            _shorten_longest(result)
            continue
        longest = max(lists, key=lambda name: size_of(result[name]))
        cut = max(1, len(result[longest]) // 8)
        left_out += cut
        if keeps_end:
            del result[longest][:cut]
        else:
            del result[longest][-cut:]
    return result, left_out


def _shorten_longest(fields: MutableMapping[str, Any]) -> None:
    longest = max(fields, key=lambda name: size_of(fields[name]))
    text = fields[longest] if isinstance(fields[longest], str) else json.dumps(fields[longest])
    fields[longest] = shortened(text, max(_LEAST_TEXT_CHARS, len(text) // 2))


def size_of(value: Any) -> int:
    """Return the size of a value as JSON, in bytes."""
    return len(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"))
