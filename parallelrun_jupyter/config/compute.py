"""Compute targets: this machine, a Dask cluster, Azure ML, or a named one in the home's settings."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from ..errors import ConfigError
from ..formatting import nearest_hint
from ..home import read_computes, write_computes
from .azureml_compute import PREFIX, AzureMLCompute
from .dask_compute import DaskCompute, is_dask


@dataclass(frozen=True, slots=True)
class LocalCompute:
    """This machine, the default compute target."""

    @property
    def backend(self) -> str:
        """The name of its module in ``backends``."""
        return "local"

    def spec(self) -> dict[str, Any]:
        """Return the description for a run's record."""
        return {}

    def setting(self) -> Any:
        """Return the value of ``compute_target`` in YAML."""
        return "local"

    def secrets(self) -> dict[str, str]:
        """Return the environment variables that only the driver gets: none."""
        return {}

    def check(self) -> None:
        """Do nothing: this machine is always available."""


Compute: TypeAlias = LocalCompute | DaskCompute | AzureMLCompute


def as_compute(
    value: object, environ: Mapping[str, str] = os.environ, name: str = "compute_target"
) -> Compute:
    """Return the compute that a ``compute_target`` setting describes.

    Parameters
    ----------
    value
        None or ``"local"`` for this machine; an address with ``://``, a cluster or client object,
        or a mapping of `DaskCompute` values for a Dask cluster; ``azureml:NAME``, or a mapping of
        `AzureMLCompute` values with the key ``compute``, for Azure ML; any other text for a compute
        named by `name_compute`.
    environ
        Environment variables that locate the home.
    name
        The setting, for the message.

    Raises
    ------
    ConfigError
        The value is none of these.
    """
    if value is None or value == "local":
        return LocalCompute()
    if isinstance(value, LocalCompute | DaskCompute | AzureMLCompute):
        return value
    if isinstance(value, str) and value.startswith(PREFIX):
        return AzureMLCompute(compute=value)
    if isinstance(value, str) and "://" in value:
        return DaskCompute(value)
    if isinstance(value, Mapping):
        return AzureMLCompute.of_spec(value) if "compute" in value else DaskCompute.of_spec(value)
    if not isinstance(value, str) and is_dask(value):
        return DaskCompute(value)
    if isinstance(value, str):
        target = named_compute(value, environ)
        if target is not None:
            return target
    names = ["local", *read_names(environ)]
    hint = nearest_hint(value, names) if isinstance(value, str) else ""
    msg = (
        f"{name} is {value!r}; expected 'local' (this machine), the default, the address "
        "of a Dask scheduler such as 'tcp://10.0.0.5:8786', a compute of Azure ML such as "
        f"'azureml:cpu-cluster', or the name of a compute.{hint}"
    )
    raise ConfigError(msg)


def name_compute(name: str, compute: object, environ: Mapping[str, str] = os.environ) -> Compute:
    """Save a compute under a name, for ``compute_target=NAME`` and ``--compute NAME``.

    Parameters
    ----------
    name
        The name, such as ``"cluster"``.
    compute
        The compute, as in `submit`: an address, a `DaskCompute`, ... None removes the name.
    environ
        Environment variables that locate the home, whose ``computes.json`` stores the compute.

    Returns
    -------
    LocalCompute, DaskCompute or AzureMLCompute
        The compute.

    Raises
    ------
    ConfigError
        The name or the compute is invalid, or its certificates are texts. Texts would be stored as
        secrets: pass the paths of files. A credential object is not stored either.

    Examples
    --------
    ::

        name_compute("cluster", "tcp://10.0.0.5:8786")
        run = submit(config, inputs="digits/*.png", compute="cluster")
    """
    if not name or "://" in name or name.startswith(PREFIX) or name == "local":
        msg = f"a compute cannot be named {name!r}; give a name such as 'cluster'."
        raise ConfigError(msg)
    computes = read_computes(environ)
    computes.pop(name, None)
    target = as_compute(compute, environ)
    if compute is not None:
        if isinstance(target, AzureMLCompute) and target.credential is not None:
            msg = (
                f"compute {name!r} contains a credential, which is not stored on disk: omit it, so that "
                "DefaultAzureCredential is used, or give the AzureMLCompute itself as compute=."
            )
            raise ConfigError(msg)
        if target.secrets():
            msg = (
                f"compute {name!r} contains certificates as texts, which are not stored on disk: "
                "pass the paths of files."
            )
            raise ConfigError(msg)
        computes[name] = {"backend": target.backend, **target.spec()}
    write_computes(computes, environ)
    return target


def named_compute(name: str, environ: Mapping[str, str] = os.environ) -> Compute | None:
    """Return the compute with a name, or None if the name is unknown.

    Raises
    ------
    ConfigError
        The settings file is damaged, or was written by a newer version.
    """
    spec = read_computes(environ).get(name)
    if spec is None:
        return None
    values = {key: value for key, value in spec.items() if key != "backend"}
    match spec.get("backend"):
        case "local":
            return LocalCompute()
        case AzureMLCompute.backend:
            return AzureMLCompute.of_spec(values)
    return DaskCompute.of_spec(values)


def read_names(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Return the names of the computes in this home."""
    return sorted(read_computes(environ))


def node_counts(
    target: Compute, nodes: int | None, workers: int | None, cores: int
) -> tuple[int, int]:
    """Return the number of nodes, and of worker processes per node, for a run's record.

    The defaults on this machine are one node, and one worker per core. On a cluster they are 0,
    which stands for all nodes, and for all cores of each. In Azure ML the default is the compute's
    ``instance_count``.
    """
    if isinstance(target, LocalCompute):
        return nodes or 1, workers or cores
    if isinstance(target, AzureMLCompute):
        return nodes or target.instance_count, workers or 0
    return nodes or 0, workers or 0
