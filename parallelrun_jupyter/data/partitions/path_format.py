"""Partition keys in paths: a format such as ``{user}/{day:yyyy/MM/dd}/*.wav``, or ``key=value``."""

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
from ..walker import split_glob

KeyValue: TypeAlias = str | int | float | bool | datetime | None
"""The value of a partition key: text or a time from a path, any of these from a table."""

MISSING = "__HIVE_DEFAULT_PARTITION__"
"""Represents a missing value in ``key=value`` paths."""

_UNITS = {"yyyy": "year", "MM": "month", "dd": "day", "HH": "hour", "mm": "minute", "ss": "second"}
_PARTS = re.compile(r"\{([^{}]*)\}|([^{}]+)|([{}])")
_DATE_PARTS = re.compile(r"yyyy|MM|dd|HH|mm|ss|[^A-Za-z]+|(.)", re.DOTALL)
_WHOLE_NUMBER = re.compile(r"-?(0|[1-9]\d{0,17})")
_EXAMPLE = "Write, for example, '{user}/{day:yyyy/MM/dd}/*.wav'."


@dataclass(frozen=True, slots=True)
class _Key:
    """A key of a format.

    Parameters
    ----------
    name
        Its name.
    units
        The units of a date, in the order of the path; empty for text.
    is_encoded
        Whether values are percent-encoded: they are in the form ``key={key}``.
    """

    name: str
    units: tuple[str, ...] = ()
    is_encoded: bool = False

    def value(self, texts: Sequence[str]) -> KeyValue:
        if self.units:
            numbers = dict(zip(self.units, map(int, texts), strict=True))
            return datetime(**{"year": 1, "month": 1, "day": 1, **numbers})  # type: ignore[arg-type]  # noqa: DTZ001 - paths have no time zone
        if not self.is_encoded:
            return texts[0]
        return None if texts[0] == MISSING else unquote(texts[0])


class PartitionFormat:
    """A partition format, by Azure's rules.

    Parameters
    ----------
    text
        The format of the end of a path, from the first key (or a literal before it) to the end of
        the file's name. ``{key}`` is a key with text values, ``{key:yyyy/MM/dd/HH/mm/ss}`` a key
        with dates, from which the smaller units may be left out. ``*`` matches any other text.
        Everything else must match literally. A key or ``*`` does not match a ``/``. In the form
        ``key={key}``, which other tools write, values are percent-decoded and
        ``__HIVE_DEFAULT_PARTITION__`` is None.
    types
        Types of keys, by name, as in ``column_types``. Default: text.

    Raises
    ------
    ConfigError
        The format is invalid.
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
            raise _refusal(text, "it contains no {key}")
        if text.endswith("/"):
            raise _refusal(text, "it ends in a folder, but must include the file's name (as '/*')")
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
        """Return the values of the keys in a path.

        Raises
        ------
        InputError
            The path does not match, or has an invalid date.
        """
        tail = path.rsplit("/", self._slashes + 1)[-self._slashes - 1 :]
        match = self._match("/".join(tail))
        if match is None:
            raise InputError(self._mismatch(path, "its end has another form"))
        texts = iter(match.groups())
        values = {}
        for key in self._keys:
            try:
                value = key.value([next(texts) for _ in range(len(key.units) or 1)])
                values[key.name] = _typed(value, self._types.get(key.name, ""))
            except ValueError as error:
                raise InputError(self._mismatch(path, f"{key.name!r}: {error}")) from error
        return values

    def path(self, values: Mapping[str, KeyValue]) -> str:
        """Return the end of a path with these values; a ``*`` is kept."""
        return "".join(
            part if isinstance(part, str) else _written(part, values[part.name])
            for part in self._parts
        )

    def _mismatch(self, path: str, why: str) -> str:
        return (
            f"the input {path!r} does not match the partition_format {self.text!r}: {why}. "
            "The format goes from the first key to the end of the path, the file's name included. "
            "Correct the format, or restrict the input to the files that match it."
        )

    def _read(self, text: str) -> list[str]:
        """Parse the format; return the regular expression of a path's end."""
        pattern = []
        literal = ""
        for match in _PARTS.finditer(text):
            inside, outside, brace = match.groups()
            if brace:
                raise _refusal(self.text, f"{brace!r} has no matching brace")
            if outside:
                literal = outside
                self._parts.append(literal)
                pattern.append("[^/]*".join(map(re.escape, literal.split("*"))))
                continue
            if self._parts and isinstance(self._parts[-1], _Key):
                raise _refusal(self.text, "two keys have no text between them")
            pattern.append(self._read_key(inside, literal.rpartition("/")[2]))
            literal = ""
        return pattern

    def _read_key(self, inside: str, before: str) -> str:
        name, colon, date = inside.partition(":")
        name = name.strip()
        if not name or "/" in name:
            raise _refusal(self.text, f"{{{inside}}} has no name")
        if name in self.keys:
            raise _refusal(self.text, f"it contains the key {name!r} twice")
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
                    f"{date!r} is not a date; expected each of {', '.join(_UNITS)} once, and no "
                    "other letters",
                )
            if unit:
                units.append(unit)
            pattern += re.escape(token) if not unit else rf"([0-9]{{{len(token)}}})"
            self._parts.append(token if not unit else _Key(name, (unit,)))
        order = list(_UNITS.values())
        missing = [unit for unit in order[: len(units)] if unit not in units]
        if not units or missing:
            absent = missing[0] if missing else "year"
            token = next(t for t, unit in _UNITS.items() if unit == absent)
            raise _refusal(
                self.text,
                f"{date!r} has no {absent} ({token}; months are MM and minutes are mm)",
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
    """Convert a text to a value of a type.

    Raises
    ------
    ValueError
        The text is not a value of the type.
    """
    if value is None:
        if decided.startswith(("int", "uint")) or decided == "bool":
            msg = (
                f"it has no value, which the type {decided} cannot represent; give Int64 or boolean"
            )
            raise ValueError(msg)
        return None
    if not isinstance(value, str) or decided in {"", "str"}:
        return value
    name, _, form = decided.partition(":")
    if name.startswith("datetime"):
        return datetime.strptime(value, form) if form else datetime.fromisoformat(value)  # noqa: DTZ007 - paths have no time zone
    if name in {"bool", "boolean"}:
        if value.lower() not in {"true", "false"}:
            msg = f"{value!r} is neither True nor False"
            raise ValueError(msg)
        return value.lower() == "true"
    return float(value) if name.lower().startswith("float") else int(value)


def _refusal(text: object, why: str) -> ConfigError:
    return ConfigError(f"partition_format is {text!r}: {why}. {_EXAMPLE}")


def check_keys(wanted: Sequence[str], keys: Sequence[str], dataset: str) -> None:
    """Check that a dataset has all ``wanted`` keys.

    Parameters
    ----------
    wanted
        The keys to check.
    keys
        The keys of the dataset.
    dataset
        Description of the dataset, for the message.

    Raises
    ------
    ConfigError
        The dataset lacks a key; the message lists its keys.
    """
    if not keys:
        msg = (
            f"partition_keys is {list(wanted)!r}, but {dataset} has no partition keys. Give it a "
            "partition_format such as '{user}/{season}/*.wav' (in an MLTable, "
            "extract_columns_from_partition_format), or omit partition_keys and give mini_batch_size."
        )
        raise ConfigError(msg)
    for key in wanted:
        if key not in keys:
            msg = (
                f"partition_keys is {list(wanted)!r}, but {dataset} has no key {key!r}."
                f"{nearest_hint(key, keys)} Its keys are: {', '.join(keys)}."
            )
            raise ConfigError(msg)


def as_json(values: Mapping[str, KeyValue]) -> dict[str, Any]:
    """Return key values as JSON for workers: a date is ``{"datetime": text}``."""
    return {
        key: {"datetime": value.isoformat()} if isinstance(value, datetime) else value
        for key, value in values.items()
    }


def combination(values: Mapping[str, KeyValue]) -> str:
    """Return key values as one line of text: the same text for the same values."""
    return json.dumps(as_json(values), separators=(",", ":"))


class HiveKeys:
    """Keys in the folders of files, such as ``year=2024/part.parquet``, as Spark writes them.

    Parameters
    ----------
    paths
        The files, folders and globs of a dataset. A file's keys are in the folders below the first
        path that it is in; folders in the path itself are not keys.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = set(paths)
        self._roots = sorted({split_glob(path)[0] for path in paths} | self._paths, key=len)

    def of(self, path: str) -> dict[str, str | None]:
        """Return the keys of a file by name; None is a key without a value."""
        if path in self._paths:
            return {}
        root = next((root for root in self._roots if path.startswith(f"{root.rstrip('/')}/")), path)
        pairs = [folder.partition("=") for folder in path[len(root) :].split("/")[:-1]]
        return {
            unquote(name): None if value == MISSING else unquote(value)
            for name, equals, value in pairs
            if name and equals
        }


def key_columns(keys: Sequence[Mapping[str, str | None]]) -> list[dict[str, Any]]:
    """Return the keys of each file as columns for its plan lines; empty dicts without keys.

    A key is a whole number if all its values are, without leading zeros. A file that lacks a key of
    other files has no value in that column.

    Parameters
    ----------
    keys
        The keys of each file, by `HiveKeys`.
    """
    names = list(dict.fromkeys(name for of_file in keys for name in of_file))
    if not names:
        return [{} for _ in keys]
    types = {name: _decided_type([of_file.get(name) for of_file in keys]) for name in names}
    return [
        {
            "key_columns": {
                name: _number_or_text(of_file.get(name), types[name]) for name in names
            },
            "key_types": types,
        }
        for of_file in keys
    ]


def _decided_type(values: list[str | None]) -> str:
    texts = [value for value in values if value is not None]
    if not texts or not all(_WHOLE_NUMBER.fullmatch(text) for text in texts):
        return "str"
    return "int64" if len(texts) == len(values) else "Int64"


def _number_or_text(text: str | None, decided: str) -> str | int | None:
    return int(text) if text is not None and decided != "str" else text
