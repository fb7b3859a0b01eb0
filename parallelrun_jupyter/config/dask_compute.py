"""A Dask cluster as compute target: its settings, checked without importing Dask."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import socket
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import ConfigError, MissingExtraError
from ..formatting import looks_secret, nearest_hint

TLS_VARIABLE = "PARALLELRUN_DASK_TLS"
"""The variable that passes certificates given as texts to the driver; they are not stored."""

ENVIRONMENT_PREFIX = "env:"
"""Prefix of an argument whose value is in the environment variable named after it."""

DEFAULT_SCHEDULER_TIMEOUT_S = 300.0
_SCHEMES = ("tcp", "tls", "ws", "wss", "ucx", "ucxx")
_TLS_NAMES = ("tls_ca_file", "tls_client_cert", "tls_client_key")
_CONNECT_S = 5.0
_FROM_NAME = "dask_gateway.GatewayCluster.from_name"
_AUTH_KINDS = ("basic", "jupyterhub", "kerberos")
"""Values of a Dask Gateway's ``auth``: they name a way of authentication, and are no secrets."""


class DaskCompute:
    """A Dask cluster: one node on each of its workers, at most ``node_count`` of them.

    Parameters
    ----------
    target
        Address of a running scheduler (``tcp://host:8786``, ``tls://...``), or a cluster or client
        object of this notebook, whose address is used; of a Dask Gateway, its name.
    scheduler_file
        Path of the file written by ``dask scheduler --scheduler-file``.
    cluster
        Dotted name of a cluster class, such as ``dask_kubernetes.operator.KubeCluster``,
        ``dask_gateway.GatewayCluster``, ``dask_jobqueue.SLURMCluster`` or ``coiled.Cluster``, or of
        a function or method that returns one. The run's driver creates the cluster, keeps its
        workers up, and closes it.
    arguments
        Keyword arguments of ``cluster``, as JSON values. Pass a secret, also one in a mapping, as
        the text ``env:NAME``, which stands for the environment variable NAME: its value is not stored.
    adapt
        Minimum and maximum number of workers, for the cluster's ``adapt``; with ``cluster`` only,
        and not for SSHCluster, whose hosts are given.
    security
        Certificates for ``tls://``: a ``distributed.Security``, or a dict with the paths
        tls_ca_file, tls_client_cert and tls_client_key. Default: Dask's own configuration.
    scheduler_timeout_s
        Seconds to wait for a lost scheduler; the run is then interrupted, and can be resumed.
        Default: 300.

    Raises
    ------
    ConfigError
        Not exactly one of ``target``, ``scheduler_file`` and ``cluster`` is given; other processes
        cannot reach the address; or an argument contains a secret.

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
        count = sum(x is not None for x in (target, scheduler_file, cluster))
        if count != 1:
            msg = (
                f"DaskCompute received {count} of these arguments: an address (or cluster "
                "object), scheduler_file, cluster; expected exactly one, such as "
                "DaskCompute('tcp://10.0.0.5:8786')."
            )
            raise ConfigError(msg)
        self.lives_here = False
        self.address: str | None = None
        behind = _gateway_cluster_of(target)
        if behind is not None:
            self.lives_here = bool(getattr(behind, "shutdown_on_close", True))
            cluster, arguments, target = _FROM_NAME, {**_connection_of(behind)}, None
        if target is not None:
            self.address, self.lives_here, own_security = _address_of(target)
            _check_address(self.address)
            security = security if security is not None else own_security
        file = (
            None if scheduler_file is None else os.path.abspath(os.path.expanduser(scheduler_file))
        )
        self.scheduler_file = file
        self.cluster = None if cluster is None else _checked_class_name(cluster)
        self.arguments = _checked_arguments(arguments, cluster)
        self.adapt = _checked_adapt(adapt, cluster)
        self.tls, self._tls_texts = _certificates_of(security)
        self.scheduler_timeout_s = float(scheduler_timeout_s)

    @classmethod
    def of_spec(cls, spec: Mapping[str, Any]) -> DaskCompute:
        """Return the compute that a record, a settings file or a YAML mapping describes.

        Raises
        ------
        ConfigError
            A key is unknown, or a value is invalid.
        """
        same = ("scheduler_file", "cluster", "arguments", "adapt", "scheduler_timeout_s")
        parameters = {"address": "target", **dict(zip(same, same, strict=True)), "tls": "security"}
        for key in spec:
            if key not in parameters:
                msg = (
                    f"a Dask compute has no key {key!r}.{nearest_hint(key, list(parameters))} "
                    f"The keys are: {', '.join(parameters)}."
                )
                raise ConfigError(msg)
        values = {parameters[key]: value for key, value in spec.items() if value is not None}
        if "adapt" in values:
            values["adapt"] = tuple(values["adapt"])
        return cls(**values)

    @property
    def is_owned(self) -> bool:
        """Whether the run creates the cluster, and may scale it; else it uses one that exists."""
        return self.cluster is not None and not self.cluster.endswith(".from_name")

    def spec(self) -> dict[str, Any]:
        """Return the description for a run's record: JSON values without secrets."""
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
        """Return the value of ``compute_target`` in YAML: an address or a mapping."""
        spec = self.spec()
        return spec["address"] if list(spec) == ["address"] else spec

    def secrets(self) -> dict[str, str]:
        """Return the environment variables that only the driver gets: certificates given as texts."""
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
        """Check, at submit, that the cluster can be used; warn if it ends with this process.

        Raises
        ------
        MissingExtraError
            ``distributed`` is not installed.
        ConfigError
            Nothing listens at the address, or the scheduler file does not exist.
        """
        require_dask()
        if self.lives_here:
            name = self.address or f"{self.arguments['address']} ({self.arguments['cluster_name']})"
            warnings.warn(
                f"the Dask cluster at {name} was created by this process and usually ends "
                "with it. The run would then be interrupted, and can be resumed with another compute. "
                "A scheduler started outside the notebook ('dask scheduler') outlives it, "
                "as the run does.",
                stacklevel=6,
            )
        if self.scheduler_file is not None and not os.path.isfile(self.scheduler_file):
            msg = (
                f"scheduler_file is {self.scheduler_file!r}, which does not exist. Start the "
                "scheduler first: dask scheduler --scheduler-file PATH"
            )
            raise ConfigError(msg)
        if self.cluster is not None:
            _check_module(self.cluster)
        elif self.address is not None:
            _check_listens(self.address)


def require_dask() -> None:
    """Check that Dask is installed.

    Raises
    ------
    MissingExtraError
        Dask is not installed; the message gives the command that installs it.
    """
    if importlib.util.find_spec("distributed") is None:
        msg = (
            "running on a Dask cluster needs the package 'distributed', which is not installed "
            "here: pip install 'parallelrun-jupyter[dask]'"
        )
        raise MissingExtraError(msg)


def is_dask(value: object) -> bool:
    """Return whether a value looks like a cluster or a client of Dask."""
    return isinstance(getattr(value, "scheduler_address", None), str) or (
        hasattr(value, "scheduler_info") and hasattr(value, "scheduler")
    )


def _address_of(target: object) -> tuple[str, bool, object]:
    """Return the scheduler's address, whether this process runs the cluster, and its security."""
    if isinstance(target, str):
        return target.strip(), False, None
    if isinstance(getattr(target, "scheduler_address", None), str):  # a cluster
        return str(getattr(target, "scheduler_address")), True, getattr(target, "security", None)  # noqa: B009 - duck-typed
    scheduler = getattr(target, "scheduler", None)
    address = getattr(scheduler, "address", None)
    if not isinstance(address, str):
        msg = (
            f"DaskCompute received {target!r}; expected the address of a scheduler such as "
            "'tcp://10.0.0.5:8786', or a cluster or client object that is connected."
        )
        raise ConfigError(msg)
    is_own = getattr(target, "cluster", None) is not None
    return address, is_own, getattr(target, "security", None)


def _gateway_cluster_of(target: object) -> Any:
    """Return the cluster of a Dask Gateway that an object is, or is a client of; else None."""
    cluster = getattr(target, "cluster", None) or target
    address = getattr(cluster, "scheduler_address", None)
    is_behind = isinstance(address, str) and address.startswith("gateway://")
    return cluster if is_behind and hasattr(cluster, "gateway") else None


def _connection_of(cluster: Any) -> dict[str, str]:
    """Return the arguments with which the driver connects to a cluster of a Dask Gateway."""
    gateway = cluster.gateway
    return {
        "cluster_name": str(cluster.name),
        "address": str(gateway.address),
        "proxy_address": str(gateway.proxy_address),
    }


def _check_address(address: str) -> None:
    scheme, _, rest = address.partition("://")
    if scheme == "inproc":
        msg = (
            f"the Dask scheduler at {address!r} lives inside this process (processes=False). The "
            "run's driver, another process, cannot reach it. Create the cluster with "
            "LocalCluster(processes=True), or start 'dask scheduler', and give its tcp:// "
            "address."
        )
        raise ConfigError(msg)
    if scheme == "gateway":
        msg = (
            f"{address!r} is behind a Dask Gateway, to which the run's driver must connect itself: "
            "DaskCompute(cluster='dask_gateway.GatewayCluster', arguments={...})."
        )
        raise ConfigError(msg)
    if scheme not in _SCHEMES or not rest.strip("/"):
        hint = nearest_hint(scheme, _SCHEMES)
        msg = (
            f"{address!r} is not the address of a Dask scheduler; expected one such as "
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


def _checked_class_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", name):
        msg = (
            f"cluster is {name!r}; expected the dotted name of a class, such as "
            "'dask_jobqueue.SLURMCluster'. Pass a cluster object as the first argument."
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
        msg = "arguments are for cluster=, which is missing; give both, or neither."
        raise ConfigError(msg)
    for name, value in _texts_of(arguments):
        is_named = value.startswith(ENVIRONMENT_PREFIX) or value in _AUTH_KINDS
        if looks_secret(name) and not is_named and not _is_key_file(name, value):
            msg = (
                f"arguments has a {name!r}, whose value would be stored on disk. Set an "
                f"environment variable, and give its name: {name}='{ENVIRONMENT_PREFIX}NAME'."
            )
            raise ConfigError(msg)
    try:
        return dict(json.loads(json.dumps(dict(arguments))))
    except (TypeError, ValueError) as error:
        msg = (
            f"arguments are stored as JSON, which cannot represent them ({error}); give texts, "
            "numbers, lists and dicts."
        )
        raise ConfigError(msg) from error


def _texts_of(arguments: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the texts among arguments by name, also those in mappings such as connect_options."""
    for name, value in arguments.items():
        if isinstance(value, str):
            yield name, value
        elif isinstance(value, Mapping):
            yield from _texts_of(value)


def _is_key_file(name: str, value: str) -> bool:
    """Return whether a text is the path of a private key rather than a key."""
    return "key" in name and (os.path.isabs(value) or value.startswith("~"))


def _checked_adapt(adapt: tuple[int, int] | None, cluster: str | None) -> tuple[int, int] | None:
    if adapt is None:
        return None
    is_pair = len(adapt) == 2 and all(isinstance(n, int) for n in adapt)
    if not is_pair or not 0 <= adapt[0] <= adapt[1] or adapt[1] < 1:
        msg = f"adapt is {adapt!r}; expected (minimum, maximum) of workers, such as (0, 10)."
        raise ConfigError(msg)
    if cluster is None:
        msg = (
            "adapt is for a cluster that the run creates; give cluster=, or call adapt() on yours."
        )
        raise ConfigError(msg)
    if cluster.endswith(".SSHCluster"):
        msg = (
            f"adapt is for a cluster that can start and end workers, and {cluster} has the hosts that it "
            "is given; leave adapt out. node_count limits how many of them the run uses."
        )
        raise ConfigError(msg)
    return adapt[0], adapt[1]


def _certificates_of(security: object) -> tuple[dict[str, str], dict[str, str]]:
    """Return the certificates given as files, and those given as texts, by name."""
    if security is None:
        return {}, {}
    settings = (
        dict(security)
        if isinstance(security, Mapping)
        else {name: getattr(security, name, None) for name in _TLS_NAMES}
    )
    unknown = [name for name in settings if name not in _TLS_NAMES]
    if unknown:
        msg = (
            f"security has no {unknown[0]!r}.{nearest_hint(unknown[0], _TLS_NAMES)} Its keys are "
            f"{', '.join(_TLS_NAMES)}; a distributed.Security is accepted too."
        )
        raise ConfigError(msg)
    values = {name: str(value) for name, value in settings.items() if value is not None}
    texts = {name: value for name, value in values.items() if "\n" in value}
    files = {
        name: os.path.abspath(os.path.expanduser(value))
        for name, value in values.items()
        if name not in texts
    }
    missing = [path for path in files.values() if not os.path.isfile(path)]
    if missing:
        msg = f"security names the file {missing[0]!r}, which does not exist."
        raise ConfigError(msg)
    return files, texts
