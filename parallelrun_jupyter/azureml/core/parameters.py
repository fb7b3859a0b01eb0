"""Parameters of pipelines: values that a resubmit may change."""

from __future__ import annotations

import re
from typing import Any

from ..exceptions import UserErrorException
from ..loader.name_table import load

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


class PipelineParameter:
    """A value of a pipeline that may be given anew at each submit.

    Parameters
    ----------
    name
        The name.
    default_value
        A number, a text, True or False, a dataset, or a `DataPath`.

    Raises
    ------
    UserErrorException
        The name is none, or there is no default value.
    """

    def __init__(self, name: str, default_value: Any) -> None:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            msg = (
                f"name is {name!r}; expected a name for the parameter: letters, digits and "
                "underscores, the first one no digit."
            )
            raise UserErrorException(msg)
        if default_value is None:
            msg = f"default_value of the parameter {name!r} is None; expected a value."
            raise UserErrorException(msg)
        self.name = name
        self.default_value = default_value

    def __repr__(self) -> str:
        return f"PipelineParameter(name={self.name}, default_value={self.default_value!r})"

    def __str__(self) -> str:
        return f"PipelineParameter_Name:{self.name}_Default:{self.default_value}"


class PromotedParameter(PipelineParameter):
    """A setting of the preview's steps, which is a parameter of the pipeline by itself."""

    def __init__(self, name: str, default_value: Any) -> None:
        self.name = name
        self.default_value = default_value


def plain_value(value: Any) -> Any:
    """Return a parameter's value as a record has it: datasets by their description."""
    if hasattr(value, "native"):
        return value.native.spec()
    if hasattr(value, "path_on_datastore"):
        from_files = load("data.datasets:FileDatasetFactory").from_files
        return from_files(value, validate=False).native.spec()
    return value


def bound(value: Any) -> Any:
    """Return a setting as a record has it: parameters as bindings."""
    return {"parameter": value.name} if isinstance(value, PipelineParameter) else value


def default_of(value: Any) -> Any:
    """Return a value, or the default of the parameter that stands for it."""
    return value.default_value if isinstance(value, PipelineParameter) else value
