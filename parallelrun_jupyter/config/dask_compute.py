"""A Dask cluster as the place of a run: what may be given for it, checked, without importing Dask."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import socket
import warnings
from collections.abc import Mapping
from typing import Any

from ..errors import ConfigError, MissingExtraError
from ..formatting import looks_secret, nearest_hint

TLS_VARIABLE = "PARALLELRUN_DASK_TLS"
"""Hands certificates that are no files to the driver: in its memory, never on a disk."""

ENVIRONMENT_PREFIX = "env:"
"""Before the name of the environment variable that an argument's value is in."""

DEFAULT_SCHEDULER_TIMEOUT_S = 300.0
_SCHEMES = ("tcp", "tls", "ws", "wss", "ucx", "ucxx")
_TLS_NAMES = ("tls_ca_file", "tls_client_cert", "tls_client_key")
_CONNECT_S = 5.0


class DaskCompute:
    """A Dask cluster: one node on each of its workers, at most ``node_count`` of them.

    Parameters
    ----------
    target
        Address of a running scheduler (``tcp://host:8786``, ``tls://...``), or a cluster or client
        object of this notebook, whose address is taken.
    scheduler_file
        Path of a file that the scheduler has written (``dask scheduler --scheduler-file``).
    cluster
        Dotted name of a cluster class, such as ``dask_kubernetes.operator.KubeCluster``,
        ``dask_gateway.GatewayCluster``, ``dask_jobqueue.SLURMCluster`` or ``coiled.Cluster``: the
        run's driver makes it and closes it.
    arguments
        Its keyword arguments, JSON values. A text ``env:NAME`` stands for the environment variable
        NAME, which is how secrets are given: nothing of their value is stored.
    adapt
        (minimum, maximum) of workers: calls the cluster's ``adapt``; ``cluster`` only.
    security
        Certificates for ``tls://``: a ``distributed.Security``, or a dict with the paths
        tls_ca_file, tls_client_cert and tls_client_key. Default: Dask's own configuration.
    scheduler_timeout_s
        Seconds that a lost scheduler is waited for; then the run is interrupted, and resumable.
        Default: 300.

    Raises
    ------
    ConfigError
        None or several of target, scheduler_file and cluster; an address that no other process
        can reach; a secret among the arguments.

    Examples
    --------
    >>> DaskCompute("tcp://10.0.0.5:8786")
    DaskCompute('tcp://10.0.0.5:8786')
    """

    backend = "dask"

    def __init__(
        self,
        target: object = None,
        *,
        scheduler_file: str | os.PathLike[str] | None = None,
        cluster: str | None = None,
        arguments: Mapping[str, Any] | None = None,
        adapt: tuple[int, int] | None = None,
        security: object = None,
        scheduler_timeout_s: float = DEFAULT_SCHEDULER_TIMEOUT_S,
    ) -> None:
        given = [x for x in (target, scheduler_file, cluster) if x is not None]
        if len(given) != 1:
            msg = (
                f"DaskCompute was given {len(given)} of an address (or cluster object), "
                "scheduler_file and cluster; expected one of them, such as "
                "DaskCompute('tcp://10.0.0.5:8786')."
            )
            raise ConfigError(msg)
        self.lives_here = False
        self.address: str | None = None
        if target is not None:
            self.address, self.lives_here, found = _address_of(target)
            _check_address(self.address)
            security = security if security is not None else found
        file = (
            None if scheduler_file is None else os.path.abspath(os.path.expanduser(scheduler_file))
        )
        self.scheduler_file = file
        self.cluster = None if cluster is None else _dotted(cluster)
        self.arguments = _checked_arguments(arguments, cluster)
        self.adapt = _checked_adapt(adapt, cluster)
        self.tls, self._tls_texts = _tls_of(security)
        self.scheduler_timeout_s = float(scheduler_timeout_s)

    @classmethod
    def of_spec(cls, spec: Mapping[str, Any]) -> DaskCompute:
        """Return the compute that a record, a settings file or a YAML mapping describes.

        Raises
        ------
        ConfigError
            It has a key that ``DaskCompute`` does not take, or a value that it refuses.
        """
        known = {
            "address": "target",
            **{
                k: k
                for k in ("scheduler_file", "cluster", "arguments", "adapt", "scheduler_timeout_s")
            },
            "tls": "security",
        }
        for key in spec:
            if key not in known:
                msg = (
                    f"a Dask compute has no key {key!r}.{nearest_hint(key, list(known))} "
                    f"The keys are: {', '.join(known)}."
                )
                raise ConfigError(msg)
        values = {known[key]: value for key, value in spec.items() if value is not None}
        if "adapt" in values:
            values["adapt"] = tuple(values["adapt"])
        return cls(**values)

    def spec(self) -> dict[str, Any]:
        """Return what a run's record says of it: JSON, and no secret."""
        spec = {
            "address": self.address,
            "scheduler_file": self.scheduler_file,
            "cluster": self.cluster,
            "arguments": self.arguments or None,
            "adapt": self.adapt and list(self.adapt),
            "tls": self.tls or None,
            "scheduler_timeout_s": self.scheduler_timeout_s
            if self.scheduler_timeout_s != DEFAULT_SCHEDULER_TIMEOUT_S
            else None,
        }
        return {key: value for key, value in spec.items() if value is not None}

    def setting(self) -> Any:
        """Return it as a ``compute_target`` in YAML: its address, or a mapping."""
        spec = self.spec()
        return spec["address"] if list(spec) == ["address"] else spec

    def secrets(self) -> dict[str, str]:
        """Return variables for the driver alone: certificates that are texts, not files."""
        return {TLS_VARIABLE: json.dumps(self._tls_texts)} if self._tls_texts else {}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DaskCompute) and (self.spec(), self._tls_texts) == (
            other.spec(),
            other._tls_texts,
        )

    def __hash__(self) -> int:
        return hash(json.dumps(self.spec(), sort_keys=True))

    def __repr__(self) -> str:
        setting = self.setting()
        if isinstance(setting, str):
            return f"DaskCompute({setting!r})"
        return f"DaskCompute({', '.join(f'{k}={v!r}' for k, v in setting.items())})"

    def check(self) -> None:
        """See, at submit, that it can be used, and say where it will not outlive this process.

        Raises
        ------
        MissingExtraError
            ``distributed`` is not installed.
        ConfigError
            Nothing listens at the address, or the file or the cluster's module is not there.
        """
        require_dask()
        if self.lives_here:
            warnings.warn(
                f"the Dask cluster at {self.address} was made by this process and ends with it, as "
                "a rule: the run would then be interrupted, and run.resume(compute=...) goes on "
                "elsewhere. A scheduler that is started outside ('dask scheduler') outlives the "
                "notebook, as the run does.",
                stacklevel=5,
            )
        if self.scheduler_file is not None and not os.path.isfile(self.scheduler_file):
            msg = (
                f"scheduler_file is {self.scheduler_file!r}, which is not there. Start the "
                "scheduler first: dask scheduler --scheduler-file PATH"
            )
            raise ConfigError(msg)
        if self.cluster is not None:
            _check_module(self.cluster)
        elif self.address is not None:
            _check_listens(self.address)


def require_dask() -> None:
    """Raise where Dask is not installed.

    Raises
    ------
    MissingExtraError
        It names the command that installs it.
    """
    if importlib.util.find_spec("distributed") is None:
        msg = (
            "running on a Dask cluster needs the package 'distributed', which is not installed "
            "here: pip install 'parallelrun-jupyter[dask]'"
        )
        raise MissingExtraError(msg)


def is_dask(value: object) -> bool:
    """Say whether a value looks like a cluster or a client of Dask."""
    return isinstance(getattr(value, "scheduler_address", None), str) or (
        hasattr(value, "scheduler_info") and hasattr(value, "scheduler")
    )


def _address_of(target: object) -> tuple[str, bool, object]:
    """Return the scheduler's address, whether the cluster is this process's, and its security."""
    if isinstance(target, str):
        return target.strip(), False, None
    if isinstance(getattr(target, "scheduler_address", None), str):  # a cluster
        return str(getattr(target, "scheduler_address")), True, getattr(target, "security", None)  # noqa: B009 - duck-typed
    scheduler = getattr(target, "scheduler", None)
    address = getattr(scheduler, "address", None)
    if not isinstance(address, str):
        msg = (
            f"DaskCompute was given {target!r}; expected the address of a scheduler such as "
            "'tcp://10.0.0.5:8786', or a cluster or client object that is connected."
        )
        raise ConfigError(msg)
    is_own = getattr(target, "cluster", None) is not None
    return address, is_own, getattr(target, "security", None)


def _check_address(address: str) -> None:
    scheme, _, rest = address.partition("://")
    if scheme == "inproc":
        msg = (
            f"the Dask scheduler at {address!r} lives inside this process (processes=False), where "
            "the run's driver, a process of its own, cannot reach it. Make the cluster with "
            "LocalCluster(processes=True), or start 'dask scheduler', and give its tcp:// address."
        )
        raise ConfigError(msg)
    if scheme == "gateway":
        msg = (
            f"{address!r} is behind a Dask Gateway, which the run's driver has to ask by itself: "
            "DaskCompute(cluster='dask_gateway.GatewayCluster', arguments={...})."
        )
        raise ConfigError(msg)
    if scheme not in _SCHEMES or not rest.strip("/"):
        hint = nearest_hint(scheme, _SCHEMES)
        msg = (
            f"{address!r} is no address of a Dask scheduler; expected one such as "
            f"'tcp://10.0.0.5:8786' or 'tls://...'.{hint}"
        )
        raise ConfigError(msg)


def _check_listens(address: str) -> None:
    scheme, _, rest = address.partition("://")
    host, _, port = rest.rstrip("/").rpartition(":")
    if scheme not in {"tcp", "tls"} or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_S).close()
    except OSError as error:
        msg = (
            f"nothing answers at {address} ({error.strerror or error}). Is the Dask scheduler "
            "running, and can this machine reach it? 'dask scheduler' prints its address."
        )
        raise ConfigError(msg) from error


def _dotted(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", name):
        msg = (
            f"cluster is {name!r}; expected the dotted name of a class, such as "
            "'dask_jobqueue.SLURMCluster'. A cluster object is given as the first argument."
        )
        raise ConfigError(msg)
    return name


def _check_module(dotted: str) -> None:
    package = dotted.split(".", maxsplit=1)[0]
    if importlib.util.find_spec(package) is None:
        msg = (
            f"cluster is {dotted!r}, but the package {package!r} is not installed here: "
            f"pip install {package.replace('_', '-')}"
        )
        raise MissingExtraError(msg)


def _checked_arguments(arguments: Mapping[str, Any] | None, cluster: str | None) -> dict[str, Any]:
    if not arguments:
        return {}
    if cluster is None:
        msg = "arguments are those of cluster=, which is missing; give both, or neither."
        raise ConfigError(msg)
    for name, value in arguments.items():
        is_named = isinstance(value, str) and value.startswith(ENVIRONMENT_PREFIX)
        if looks_secret(name) and isinstance(value, str) and not is_named:
            msg = (
                f"arguments has a {name!r}, whose value would be kept on disk. Put it into an "
                f"environment variable, and give its name: {name}='{ENVIRONMENT_PREFIX}NAME'."
            )
            raise ConfigError(msg)
    try:
        return dict(json.loads(json.dumps(dict(arguments))))
    except (TypeError, ValueError) as error:
        msg = (
            f"arguments are kept as JSON, and hold what is none ({error}); give texts, numbers, "
            "lists and dicts."
        )
        raise ConfigError(msg) from error


def _checked_adapt(adapt: tuple[int, int] | None, cluster: str | None) -> tuple[int, int] | None:
    if adapt is None:
        return None
    is_pair = len(adapt) == 2 and all(isinstance(n, int) for n in adapt)
    if not is_pair or not 0 <= adapt[0] <= adapt[1] or adapt[1] < 1:
        msg = f"adapt is {adapt!r}; expected (minimum, maximum) of workers, such as (0, 10)."
        raise ConfigError(msg)
    if cluster is None:
        msg = "adapt is for a cluster that the run makes; give cluster=, or call adapt() on yours."
        raise ConfigError(msg)
    return adapt[0], adapt[1]


def _tls_of(security: object) -> tuple[dict[str, str], dict[str, str]]:
    """Return the certificates that are files, by name, and those that are texts."""
    if security is None:
        return {}, {}
    given = (
        dict(security)
        if isinstance(security, Mapping)
        else {name: getattr(security, name, None) for name in _TLS_NAMES}
    )
    wrong = [name for name in given if name not in _TLS_NAMES]
    if wrong:
        msg = (
            f"security has no {wrong[0]!r}.{nearest_hint(wrong[0], _TLS_NAMES)} It takes "
            f"{', '.join(_TLS_NAMES)}, or a distributed.Security."
        )
        raise ConfigError(msg)
    values = {name: str(value) for name, value in given.items() if value is not None}
    texts = {name: value for name, value in values.items() if "\n" in value}
    files = {
        name: os.path.abspath(os.path.expanduser(value))
        for name, value in values.items()
        if name not in texts
    }
    missing = [path for path in files.values() if not os.path.isfile(path)]
    if missing:
        msg = f"security names the file {missing[0]!r}, which is not there."
        raise ConfigError(msg)
    return files, texts
