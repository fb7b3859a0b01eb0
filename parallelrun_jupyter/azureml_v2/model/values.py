"""The small values of jobs: inputs, outputs, ports, environments, resources, retries, identities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from .expressions import Binding, Text
from .places import Places

Literal: TypeAlias = str | int | float | bool
Number: TypeAlias = int | Binding
"""A whole number, or a binding to an input that holds one."""

DATA_TYPES = ("uri_file", "uri_folder", "mltable", "mlflow_model", "triton_model", "custom_model")
PRIMITIVE_TYPES = ("string", "number", "integer", "boolean")
INPUT_MODES = ("ro_mount", "download", "direct", "eval_mount", "eval_download", "mount")
OUTPUT_MODES = ("rw_mount", "upload", "direct", "mount")


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """The value of an input of a job or of a step: a literal, data, or a binding.

    Parameters
    ----------
    value
        The literal; None for data and for bindings.
    type
        The type of data, as written; empty for literals, and where the file has none.
    path
        An absolute local path, a URL, or a name such as ``azureml:sales:1``; empty for literals and
        for bindings.
    mode
        One of `INPUT_MODES`; empty for the default, ``ro_mount``.
    binding
        The expression that the value, or the path, consists of.
    """

    value: Literal | None = None
    type: str = ""
    path: str = ""
    mode: str = ""
    binding: Binding | None = None
    places: Places = field(default_factory=Places, compare=False, repr=False)

    @property
    def is_data(self) -> bool:
        """Whether it is data by path (a binding may be either)."""
        return bool(self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """An output of a job or of a step.

    Parameters
    ----------
    type
        The type of data, as written; empty for the default, ``uri_folder``.
    path
        The path that it is written to, with expressions; None for the default.
    mode
        One of `OUTPUT_MODES`; empty for the default, ``rw_mount``.
    binding
        The output of the pipeline that it is bound to.
    name, version
        The name and version to register it under; empty for none.
    """

    type: str = ""
    path: Text | None = None
    mode: str = ""
    binding: Binding | None = None
    name: str = ""
    version: str = ""
    places: Places = field(default_factory=Places, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """An input or output as a component declares it.

    Parameters
    ----------
    type
        One of `DATA_TYPES` or `PRIMITIVE_TYPES` (or ``path``, an older name of ``uri_folder``).
    optional
        Whether an input may be left out; its ``$[[...]]`` is then left out, too.
    default
        The value of an input that is left out; None for none.
    """

    type: str = ""
    optional: bool = False
    default: Literal | None = None
    description: str = ""
    mode: str = ""
    min: Literal | None = None
    max: Literal | None = None
    enum: tuple[str, ...] = ()
    places: Places = field(default_factory=Places, compare=False, repr=False)

    @property
    def is_literal(self) -> bool:
        """Whether its values are literals."""
        return self.type in PRIMITIVE_TYPES

    def expected(self, value: Literal) -> str:
        """Return the values that ``enum``, ``min`` and ``max`` allow, in words; empty for one of them."""
        if self.enum and str(value) not in self.enum:
            return f"one of {', '.join(self.enum)}"
        low, high = _number(self.min), _number(self.max)
        number = _number(value)
        is_low = low is not None and (number is None or number < low)
        is_high = high is not None and (number is None or number > high)
        if not (is_low or is_high):
            return ""
        if low is None or high is None:
            return f"a number from {self.min}" if high is None else f"a number up to {self.max}"
        return f"a number from {self.min} to {self.max}"


def _number(value: Literal | None) -> float | None:
    """Return a literal as a number, also one that is written as a text; None if it is none."""
    if value is None or isinstance(value, bool):
        return None
    try:
        return float(value)
    except ValueError:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """The environment of a step: a reference, or its definition.

    Parameters
    ----------
    reference
        A registered environment, such as ``azureml:sklearn@latest``; empty for a definition.
    name, version
        The name and version in a definition.
    image
        The Docker image; only recorded here.
    conda_file
        Absolute path of the conda file, or its content; None for none.
    build_path, dockerfile_path
        The folder and file of a Docker build; only recorded here.
    """

    reference: str = ""
    name: str = ""
    version: str = ""
    image: str = ""
    conda_file: str | Mapping[str, Any] | None = None
    build_path: str = ""
    dockerfile_path: str = ""
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    os_type: str = ""
    places: Places = field(default_factory=Places, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrySettings:
    """How often a mini-batch is tried again (default: 2), and the limit of one call in seconds (60)."""

    max_retries: Number | None = None
    timeout: Number | None = None
    places: Places = field(default_factory=Places, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """The machines of a step; all but ``instance_count`` (default: 1) is only recorded here."""

    instance_count: Number | None = None
    instance_type: str = ""
    shm_size: str = ""
    docker_args: tuple[str, ...] = ()
    locations: tuple[str, ...] = ()
    max_instance_count: Number | None = None
    properties: Mapping[str, Any] = field(default_factory=dict)
    places: Places = field(default_factory=Places, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The identity that a step has in Azure; only recorded here."""

    type: str = ""
    client_id: str = ""
    object_id: str = ""
    msi_resource_id: str = ""
    places: Places = field(default_factory=Places, compare=False, repr=False)
