"""Keys in paths: ``{user}/{day:yyyy/MM/dd}/*.wav`` says which parts of a path are which keys."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias
from urllib.parse import quote, unquote

from ...errors import ConfigError, InputError
from ...formatting import nearest_hint

KeyValue: TypeAlias = str | int | float | bool | datetime | None
"""The value of a partition key: text or a time from a path, any of these from a table."""

MISSING = "__HIVE_DEFAULT_PARTITION__"
"""How ``key=value`` paths say that there is no value."""

_UNITS = {"yyyy": "year", "MM": "month", "dd": "day", "HH": "hour", "mm": "minute", "ss": "second"}
_PARTS = re.compile(r"\{([^{}]*)\}|([^{}]+)|([{}])")
_DATE_PARTS = re.compile(r"yyyy|MM|dd|HH|mm|ss|[^A-Za-z]+|(.)", re.DOTALL)
_EXAMPLE = "Write for example '{user}/{day:yyyy/MM/dd}/*.wav'."


@dataclass(frozen=True, slots=True)
class _Key:
    """A key of a format: its name, and the units of its date or none; ``key={key}`` is encoded."""

    name: str
    units: tuple[str, ...] = ()
    is_encoded: bool = False

    def value(self, found: Sequence[str]) -> KeyValue:
        if self.units:
            given = dict(zip(self.units, map(int, found), strict=True))
            return datetime(**{"year": 1, "month": 1, "day": 1, **given})  # type: ignore[arg-type]  # noqa: DTZ001 - a path names no zone
        if not self.is_encoded:
            return found[0]
        return None if found[0] == MISSING else unquote(found[0])


class PartitionFormat:
    """A partition format, by Azure's rules (reference 2.4).

    Parameters
    ----------
    text
        ``{key}`` is a key with text for values, ``{key:yyyy/MM/dd/HH/mm/ss}`` one with times; of
        the units the smaller ones may be missing. ``*`` is any text that is no key. Everything
        else has to stand in the path as it stands here. It goes from the first key (or a literal
        before it) to the end of the path, the file's name included; what comes before is free.
        Neither a key nor ``*`` reaches over a ``/``. In the form ``key={key}``, which other tools
        write, values are percent-decoded and ``__HIVE_DEFAULT_PARTITION__`` is None.

    types
        Types of keys, by their names in ``column_types``; values that are not named stay texts.

    Raises
    ------
    ConfigError
        The text is no such format.
    """

    def __init__(self, text: str, types: Mapping[str, str] | None = None) -> None:
        self._types = dict(types or {})
        if not isinstance(text, str) or not text.strip("/ "):
            raise _refusal(text, "it is empty")
        self.text = text
        self._keys: list[_Key] = []
        self._parts: list[str | _Key] = []
        pattern = "".join(self._read(text.lstrip("/")))
        if not self._keys:
            raise _refusal(text, "it holds no {key}")
        if text.endswith("/"):
            raise _refusal(text, "it ends in a folder, but has to reach the file's name (as '/*')")
        self._match = re.compile(pattern, re.DOTALL).fullmatch
        self._slashes = sum(part.count("/") for part in self._parts if isinstance(part, str))

    def __repr__(self) -> str:
        return f"PartitionFormat({self.text!r})"

    @property
    def keys(self) -> list[str]:
        """The names of the keys, in the order of the path."""
        return [key.name for key in self._keys]

    def types(self) -> dict[str, str]:
        """Return the type of every key, by its name in ``column_types``."""
        return {
            key.name: self._types.get(key.name, "datetime" if key.units else "str")
            for key in self._keys
        }

    def values(self, path: str) -> dict[str, KeyValue]:
        """Return the keys' values of a path.

        Raises
        ------
        InputError
            The path does not match, or a date in it is none.
        """
        tail = path.rsplit("/", self._slashes + 1)[-self._slashes - 1 :]
        found = self._match("/".join(tail))
        if found is None:
            raise InputError(self._mismatch(path, "it does not match"))
        texts = iter(found.groups())
        values = {}
        for key in self._keys:
            try:
                value = key.value([next(texts) for _ in range(len(key.units) or 1)])
                values[key.name] = _typed(value, self._types.get(key.name, ""))
            except ValueError as error:
                raise InputError(self._mismatch(path, f"{key.name!r}: {error}")) from error
        return values

    def path(self, values: Mapping[str, KeyValue]) -> str:
        """Return the path of the keys' values; a ``*`` stays one."""
        return "".join(
            part if isinstance(part, str) else _written(part, values[part.name])
            for part in self._parts
        )

    def _mismatch(self, path: str, why: str) -> str:
        return (
            f"the input {path!r} has no keys by the partition_format {self.text!r}: {why}. "
            "The format goes from the first key to the end of the path, the file's name included. "
            "Correct it, or narrow the input to the files that it is meant for."
        )

    def _read(self, text: str) -> list[str]:
        """Read the format; return the pattern of a path's end."""
        pattern = []
        literal = ""
        for match in _PARTS.finditer(text):
            inside, outside, brace = match.groups()
            if brace:
                raise _refusal(self.text, f"{brace!r} has no other half")
            if outside:
                literal = outside
                self._parts.append(literal)
                pattern.append("[^/]*".join(map(re.escape, literal.split("*"))))
                continue
            if self._parts and isinstance(self._parts[-1], _Key):
                raise _refusal(self.text, "nothing stands between two keys")
            pattern.append(self._read_key(inside, literal.rpartition("/")[2]))
            literal = ""
        return pattern

    def _read_key(self, inside: str, before: str) -> str:
        name, colon, date = inside.partition(":")
        name = name.strip()
        if not name or "/" in name:
            raise _refusal(self.text, f"{{{inside}}} has no name")
        if name in self.keys:
            raise _refusal(self.text, f"the key {name!r} is in it twice")
        if not colon:
            key = _Key(name, is_encoded=before == f"{name}=")
            pattern = "([^/]*?)" if key.is_encoded else "([^/]+?)"
            self._parts.append(key)
        else:
            key, pattern = self._read_date(name, date)
        self._keys.append(key)
        return pattern

    def _read_date(self, name: str, date: str) -> tuple[_Key, str]:
        units: list[str] = []
        pattern = ""
        for match in _DATE_PARTS.finditer(date):
            token = match[0]
            unit = _UNITS.get(token)
            if match[1] or unit in units:
                raise _refusal(
                    self.text,
                    f"{date!r} is no date; expected each of {', '.join(_UNITS)} once, and no "
                    "other letters",
                )
            if unit:
                units.append(unit)
            pattern += re.escape(token) if not unit else rf"([0-9]{{{len(token)}}})"
            self._parts.append(token if not unit else _Key(name, (unit,)))
        order = list(_UNITS.values())
        missing = [unit for unit in order[: len(units)] if unit not in units]
        if not units or missing:
            what = missing[0] if missing else "year"
            token = next(t for t, unit in _UNITS.items() if unit == what)
            raise _refusal(
                self.text,
                f"{date!r} names no {what} ({token}; months are MM and minutes are mm)",
            )
        return _Key(name, tuple(units)), pattern


def _written(key: _Key, value: KeyValue) -> str:
    if key.units:
        width = 4 if key.units == ("year",) else 2
        return f"{getattr(value, key.units[0]):0{width}d}"
    if not key.is_encoded:
        return str(value)
    return MISSING if value is None else quote(str(value), safe=" ")


def _typed(value: KeyValue, decided: str) -> KeyValue:
    """Return a text as a value of the type.

    Raises
    ------
    ValueError
        It is none.
    """
    if value is None:
        if decided.startswith(("int", "uint")) or decided == "bool":
            msg = f"it has no value, which the type {decided} cannot say; give Int64 or boolean"
            raise ValueError(msg)
        return None
    if not isinstance(value, str) or decided in {"", "str"}:
        return value
    name, _, form = decided.partition(":")
    if name.startswith("datetime"):
        return datetime.strptime(value, form) if form else datetime.fromisoformat(value)  # noqa: DTZ007 - a path names no zone
    if name in {"bool", "boolean"}:
        if value.lower() not in {"true", "false"}:
            msg = f"{value!r} is neither True nor False"
            raise ValueError(msg)
        return value.lower() == "true"
    return float(value) if name.lower().startswith("float") else int(value)


def _refusal(text: object, why: str) -> ConfigError:
    return ConfigError(f"partition_format is {text!r}: {why}. {_EXAMPLE}")


def check_keys(wanted: Sequence[str], keys: Sequence[str], what: str) -> None:
    """See that all ``wanted`` keys are among a dataset's.

    Raises
    ------
    ConfigError
        One is not; the message names those that there are.
    """
    if not keys:
        msg = (
            f"partition_keys is {list(wanted)!r}, but {what} has no partition keys. Give it a "
            "partition_format such as '{user}/{season}/*.wav', or leave partition_keys out and "
            "give mini_batch_size."
        )
        raise ConfigError(msg)
    for key in wanted:
        if key not in keys:
            msg = (
                f"partition_keys is {list(wanted)!r}, but {what} has no key {key!r}."
                f"{nearest_hint(key, keys)} Its keys are: {', '.join(keys)}."
            )
            raise ConfigError(msg)


def as_json(values: Mapping[str, KeyValue]) -> dict[str, Any]:
    """Return keys' values as JSON has them: a time is ``{"datetime": text}``, as workers read it."""
    return {
        key: {"datetime": value.isoformat()} if isinstance(value, datetime) else value
        for key, value in values.items()
    }


def combination(values: Mapping[str, KeyValue]) -> str:
    """Return the text of a combination of keys' values: equal for equal ones, on one line."""
    return json.dumps(as_json(values), separators=(",", ":"))
