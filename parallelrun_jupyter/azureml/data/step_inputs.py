"""Inputs of steps: datasets under a name, and parameters of pipelines."""

from __future__ import annotations

import re
from typing import Any

from ...pipelines.folder import InputRecord
from ..exceptions import UserErrorException
from ..loader.name_table import load

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
MODES = ("direct", "mount", "download", "hdfs")


class PipelineParameter:
    """A value of a pipeline that each submit may replace.

    Parameters
    ----------
    name
        The name.
    default_value
        A number, text, bool, dataset or `DataPath`.

    Raises
    ------
    UserErrorException
        The name is invalid, or the default value is missing.
    """

    def __init__(self, name: str, default_value: Any) -> None:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            msg = (
                f"name is {name!r}; expected a name of letters, digits and underscores that does "
                "not start with a digit."
            )
            raise UserErrorException(msg)
        if default_value is None:
            msg = (
                f"default_value of the parameter {name!r} is None; expected a number, a text, a "
                "bool, a dataset or a DataPath."
            )
            raise UserErrorException(msg)
        self.name = name
        self.default_value = default_value

    def __repr__(self) -> str:
        return f"PipelineParameter(name={self.name}, default_value={self.default_value!r})"

    def __str__(self) -> str:
        return f"PipelineParameter_Name:{self.name}_Default:{self.default_value}"


class PromotedParameter(PipelineParameter):
    """A setting of a step of the preview, which is always a parameter of the pipeline."""

    def __init__(self, name: str, default_value: Any) -> None:
        self.name = name
        self.default_value = default_value


def plain_value(value: Any) -> Any:
    """Return the value of a parameter as JSON, for a record; datasets become their spec."""
    if hasattr(value, "native"):
        return value.native.spec()
    if hasattr(value, "path_on_datastore"):
        from_files = load("data.datasets:FileDatasetFactory").from_files
        return from_files(value, validate=False).native.spec()
    return value


def bound(value: Any) -> Any:
    """Return a setting for a record; a parameter becomes a reference to it."""
    return {"parameter": value.name} if isinstance(value, PipelineParameter) else value


def default_of(value: Any) -> Any:
    """Return a value; a parameter becomes its default value."""
    return value.default_value if isinstance(value, PipelineParameter) else value


class DatasetConsumptionConfig:
    """A dataset under a name, as an input of a step.

    Parameters
    ----------
    name
        The name: letters, digits and underscores.
    dataset
        A dataset, a `PipelineParameter` with a dataset as its default, or the output of another
        step.
    mode
        ``direct``, ``mount`` or ``download``; makes no difference here.
    path_on_compute
        The path that the script expects.

    Raises
    ------
    UserErrorException
        The name or the mode is invalid.
    """

    def __init__(
        self,
        name: str,
        dataset: Any,
        mode: str = "direct",
        path_on_compute: str | None = None,
    ) -> None:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            msg = (
                f"Invalid input name {name!r}; expected letters, digits and underscores, not starting "
                "with a digit."
            )
            raise UserErrorException(msg)
        if mode not in MODES:
            msg = f"mode is {mode!r}; expected one of {', '.join(MODES)}."
            raise UserErrorException(msg)
        self.name = name
        self.dataset = dataset
        self.mode = mode
        self.path_on_compute = path_on_compute

    def __repr__(self) -> str:
        return f"DatasetConsumptionConfig(name={self.name!r}, mode={self.mode!r})"

    def as_mount(self, path_on_compute: str | None = None) -> DatasetConsumptionConfig:
        """Return this input with the mode ``mount``."""
        return DatasetConsumptionConfig(self.name, self.dataset, "mount", path_on_compute)

    def as_download(self, path_on_compute: str | None = None) -> DatasetConsumptionConfig:
        """Return this input with the mode ``download``."""
        return DatasetConsumptionConfig(self.name, self.dataset, "download", path_on_compute)

    def as_direct(self) -> DatasetConsumptionConfig:
        """Return this input with the mode ``direct``."""
        return DatasetConsumptionConfig(self.name, self.dataset, "direct")

    @property
    def is_tabular(self) -> bool:
        """Whether the items are rows."""
        return bool(getattr(default_of(self.dataset), "is_tabular", False))

    def record(self, keys: dict[int, tuple[str, str]]) -> InputRecord:
        """Return this input for the record of a step.

        Parameters
        ----------
        keys
            Step key and name of each output, by ``id()`` of the output.
        """
        path = self.path_on_compute or ""
        source = self.dataset
        if isinstance(source, PipelineParameter):
            return InputRecord(self.name, {"parameter": source.name}, path_on_compute=path)
        if hasattr(source, "native"):
            return InputRecord(self.name, source.native.spec(), path_on_compute=path)
        output, reads, options = source.reading()
        return InputRecord(self.name, {"output": list(keys[id(output)])}, reads, options, path)
