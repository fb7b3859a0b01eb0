"""Where a run runs: this machine, a Dask cluster, or what a name in the home's settings stands for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from ..errors import ConfigError
from ..formatting import nearest_hint
from ..home import read_computes, write_computes
from .dask_compute import DaskCompute, is_dask


@dataclass(frozen=True, slots=True)
class LocalCompute:
    """This machine: the default."""

    @property
    def backend(self) -> str:
        """Name of the module in ``backends`` that runs on it."""
        return "local"

    def spec(self) -> dict[str, Any]:
        """Return what a run's record says of it."""
        return {}

    def setting(self) -> Any:
        """Return it as a ``compute_target`` in YAML."""
        return "local"

    def secrets(self) -> dict[str, str]:
        """Return variables for the driver alone: there are none."""
        return {}

    def check(self) -> None:
        """See, at submit, that it can be used: this machine can."""


Compute: TypeAlias = LocalCompute | DaskCompute


def as_compute(value: object, environ: Mapping[str, str] = os.environ) -> Compute:
    """Read a ``compute_target`` setting.

    None or ``"local"`` is this machine; an address with ``://``, a cluster or client object, or a
    mapping of ``DaskCompute``'s values is a Dask cluster; another text is a compute that was named
    by `name_compute`.

    Raises
    ------
    ConfigError
        Anything else.
    """
    if value is None or value == "local":
        return LocalCompute()
    if isinstance(value, LocalCompute | DaskCompute):
        return value
    if isinstance(value, str) and "://" in value:
        return DaskCompute(value)
    if isinstance(value, Mapping):
        return DaskCompute.of_spec(value)
    if not isinstance(value, str) and is_dask(value):
        return DaskCompute(value)
    if isinstance(value, str):
        found = named_compute(value, environ)
        if found is not None:
            return found
    names = ["local", *read_names(environ)]
    hint = nearest_hint(value, names) if isinstance(value, str) else ""
    msg = (
        f"compute_target is {value!r}; expected 'local' (this machine), the default, the address "
        f"of a Dask scheduler such as 'tcp://10.0.0.5:8786', or a name that name_compute gave.{hint}"
    )
    raise ConfigError(msg)


def name_compute(name: str, compute: object, environ: Mapping[str, str] = os.environ) -> Compute:
    """Keep a compute under a name, in ``computes.json`` of the home; return it.

    ``compute_target=NAME`` and ``--compute NAME`` mean it from then on; None takes the name away.

    Raises
    ------
    ConfigError
        The compute cannot be read, or its certificates are texts, which are secrets: give files.
    """
    if not name or "://" in name or name == "local":
        msg = f"a compute cannot be named {name!r}; give a name such as 'cluster'."
        raise ConfigError(msg)
    known = read_computes(environ)
    known.pop(name, None)
    target = as_compute(compute, environ)
    if compute is not None:
        if target.secrets():
            msg = (
                f"compute {name!r} holds certificates as texts, which are not kept on disk: give "
                "the paths of files."
            )
            raise ConfigError(msg)
        known[name] = {"backend": target.backend, **target.spec()}
    write_computes(known, environ)
    return target


def named_compute(name: str, environ: Mapping[str, str] = os.environ) -> Compute | None:
    """Return the compute of a name, or None where nothing has that name.

    Raises
    ------
    ConfigError
        The settings file is damaged, or describes what this version does not know.
    """
    spec = read_computes(environ).get(name)
    if spec is None:
        return None
    values = {key: value for key, value in spec.items() if key != "backend"}
    return LocalCompute() if spec.get("backend") == "local" else DaskCompute.of_spec(values)


def read_names(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Return the names that computes have in this home."""
    return sorted(read_computes(environ))


def node_counts(
    target: Compute, nodes: int | None, workers: int | None, cores: int
) -> tuple[int, int]:
    """Return the numbers of nodes, and of worker processes on each, that a run's record holds.

    On this machine they are known: one node, a worker for each of the ``cores``. On a cluster 0
    stands for what was not given: all nodes that there are, and what each of them may use.
    """
    if isinstance(target, LocalCompute):
        return nodes or 1, workers or cores
    return nodes or 0, workers or 0
