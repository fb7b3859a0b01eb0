"""The cluster of a run: located or created, connected, and closed if the run created it."""

from __future__ import annotations

import asyncio
import importlib
import importlib.metadata
import json
import logging
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...config.dask_compute import ENVIRONMENT_PREFIX, DaskCompute
from ...errors import ConfigError
from .upkeep import Repair, Upkeep, in_words

_log = logging.getLogger(__name__)

PACKAGE = "parallelrun-jupyter"
ASK_S = 10.0
"""Seconds without an answer after which a scheduler counts as lost."""

_SSH_LOG = "distributed.deploy.ssh"
"""Logs what hosts write as Dask starts on them."""

_DIRECT_S = 5.0
_SHRINK_S = 10.0


class Cluster:
    """The cluster that a `DaskCompute` describes.

    Parameters
    ----------
    compute
        Its address, or the class to create it.
    node_count
        Number of workers of a created cluster that can be scaled; 0 for its own default.
    tls
        Certificates by name: paths, or their texts.
    environ
        The variables for arguments ``env:NAME``.
    clock
        A monotonic clock, in seconds.
    """

    def __init__(
        self,
        compute: DaskCompute,
        node_count: int,
        tls: Mapping[str, str],
        environ: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._size = -1
        self._shrinks_at = 0.0
        self._compute = compute
        self._node_count = node_count
        self._tls = tls
        self._environ = environ
        self._maker: Any = None
        self._refusal: ConfigError | None = None
        self._on_main_thread: Callable[[Callable[[], Any]], Awaitable[Any]] | None = None
        self._made: Any = None
        self._upkeep: Upkeep | None = None
        self._client: Any = None
        self._pulse: Any = None
        self._pulses = 0
        self._scheduler = ""

    @property
    def name(self) -> str:
        """The cluster's name in messages."""
        compute = self._compute
        return compute.address or compute.scheduler_file or str(compute.cluster)

    def prepare(self, on_main_thread: Callable[[Callable[[], Any]], Awaitable[Any]]) -> None:
        """Import the class of a cluster to create, in the main thread.

        Modules of clusters may set signal handlers on import, which only the main thread can do.
        `open` raises the error of a failed import.

        Parameters
        ----------
        on_main_thread
            Calls a function in the main thread, from an event loop in another thread.
        """
        self._on_main_thread = on_main_thread
        if self._compute.cluster is None:
            return
        try:
            self._maker = find_class(self._compute.cluster)
        except ConfigError as error:
            self._refusal = error

    async def open(self) -> None:
        """Create the cluster, unless it exists already.

        Raises
        ------
        ConfigError
            The class could not be imported or called; or an environment variable that an argument
            names is not set.
        """
        if self._compute.cluster is None:
            return
        if self._refusal is not None:
            raise self._refusal
        if self._maker is None:  # without prepare(): this is the main thread
            self._maker = find_class(self._compute.cluster)
        arguments = fill_in(self._compute.arguments, self._environ)
        said = _Said()
        try:
            with said:
                self._made = await self._make(arguments)
            self._check_scaling()
            if self._compute.adapt is not None:
                await self.resize(self.size_for(1) or 1)
            elif self._node_count and self._compute.is_owned and self._can_have(self._node_count):
                await asyncio.to_thread(self._made.scale, self._node_count)
        except ConfigError:
            raise
        except Exception as error:  # the cluster's own package may raise anything
            msg = (
                f"the cluster {self.name} could not be created: {_named(error)}{said.last}. Resume the "
                "run to try again"
            )
            raise ConfigError(msg) from error
        if self._compute.is_owned:
            self._upkeep = Upkeep(self._made)

    def _check_scaling(self) -> None:
        if self._compute.adapt is not None and not getattr(self._made, "new_spec", True):
            msg = (
                f"the cluster {self.name} has the hosts that it was given, and cannot adapt their "
                "number; leave adapt out. node_count limits how many of them the run uses."
            )
            raise ConfigError(msg)

    def _can_have(self, workers: int) -> bool:
        """Return whether the cluster can be scaled so: one of named hosts can only shrink."""
        if not hasattr(self._made, "scale"):
            return False
        return bool(getattr(self._made, "new_spec", True)) or workers < len(self._made.worker_spec)

    async def _make(self, arguments: dict[str, Any]) -> Any:
        """Call the class in a thread, since it may take minutes, or else in the main thread."""
        try:
            return await asyncio.to_thread(self._maker, **arguments)
        except ValueError as error:
            if "main thread" not in str(error) or self._on_main_thread is None:
                raise
        return await self._on_main_thread(lambda: self._maker(**arguments))

    def size_for(self, nodes: int) -> int | None:
        """Return the number of workers that an adaptive cluster should have from now on.

        Dask's own scaling counts tasks, and a run has none. The cluster grows immediately, and
        shrinks only if fewer workers are needed for some seconds.

        Parameters
        ----------
        nodes
            The number of nodes that have something to do.

        Returns
        -------
        int or None
            None if it should keep its size, or is not adaptive.
        """
        bounds = self._compute.adapt
        if self._made is None or bounds is None:
            return None
        wanted = max(bounds[0], min(nodes, self._most(bounds)))
        now = self._clock()
        if wanted >= self._size:
            self._shrinks_at = now + _SHRINK_S
        if wanted == self._size or (wanted < self._size and now < self._shrinks_at):
            return None
        return wanted

    def _most(self, bounds: tuple[int, int]) -> int:
        return min(bounds[1], self._node_count or bounds[1])

    async def resize(self, size: int) -> None:
        """Scale an adaptive cluster to ``size`` workers, as `size_for` has returned it."""
        bounds = self._compute.adapt
        if self._made is None or bounds is None or size == self._size:
            return
        self._size, self._shrinks_at = size, self._clock() + _SHRINK_S
        most = max(size, self._most(bounds))
        await asyncio.to_thread(self._made.adapt, minimum=size, maximum=most)

    async def keep_up(self, names: Iterable[str]) -> Repair:
        """Start again the workers of a created cluster that cannot start or have ended.

        Parameters
        ----------
        names
            The names of the workers that the scheduler has now.
        """
        if self._upkeep is None:
            return Repair()
        try:
            return await self._upkeep.keep_up(names)
        except Exception as error:  # the cluster's own package may raise anything
            return Repair(error=in_words(error))

    def job_of(self, worker: str) -> str:
        """Return the job of a queue that runs a Dask worker, as in ``" (job 12)"``, or ""."""
        return "" if self._upkeep is None else self._upkeep.job_of(worker)

    def group_of(self, worker: str) -> str:
        """Return the name of what ends with a Dask worker: a job of several, or the worker itself."""
        return worker if self._upkeep is None else self._upkeep.group_of(worker)

    def hint(self) -> str:
        """Return what to look at if the cluster has no workers, or ""."""
        return "" if self._upkeep is None else self._upkeep.hint()

    def show_use(self) -> None:
        """Show the scheduler that the cluster is in use.

        A scheduler with an idle timeout ends a cluster on which no task changes; nodes are none.
        """
        if self._pulse is None or self._pulse.done():
            self._pulses += 1
            key = f"parallelrun-in-use-{self._client.id}-{self._pulses}"
            # A function that every Dask worker has. Other tasks go first: while it waits, they run.
            self._pulse = self._client.submit(int, key=key, priority=-1_000_000)

    async def connect(self, timeout_s: float) -> Any:
        """Return a new client of the scheduler; its address is looked up again.

        Raises
        ------
        OSError, asyncio.TimeoutError
            The scheduler does not answer.
        ConfigError
            The scheduler cannot be reached from other processes.
        """
        import distributed

        await self.disconnect()
        address, security = self._address_and_security()
        _check_tls(address, security)
        make: Any = distributed.Client
        client: Any = make(
            address, security=security, asynchronous=True, timeout=timeout_s, direct_to_workers=True
        )
        self._client = client
        self._scheduler = ""
        await client
        return client

    async def workers(self) -> Mapping[str, Any]:
        """Return the scheduler's description of each of its workers, by address.

        Raises
        ------
        OSError, asyncio.TimeoutError
            The scheduler does not answer, or a new one without our actors answers at its address.
        """
        if self._client.status != "running":
            msg = f"the client is {self._client.status}"
            raise ConnectionError(msg)
        identity = await asyncio.wait_for(self._client.scheduler.identity(n_workers=-1), ASK_S)
        if self._scheduler not in {"", identity["id"]}:
            msg = f"another scheduler answers, {identity['id']}"
            raise ConnectionError(msg)
        self._scheduler = identity["id"]
        workers: Mapping[str, Any] = identity["workers"]
        return workers

    def _address_and_security(self) -> tuple[str, Any]:
        if self._made is not None:
            address, security = self._made.scheduler_address, getattr(self._made, "security", None)
            if address.startswith("inproc://"):
                msg = (
                    f"the cluster {self.name} lives inside the driver's process (inproc://); "
                    "give it workers that are processes, such as processes=True."
                )
                raise ConfigError(msg)
            return address, security or self._security()
        if self._compute.scheduler_file is not None:
            text = Path(self._compute.scheduler_file).read_text(encoding="utf-8")
            return json.loads(text)["address"], self._security()
        return str(self._compute.address), self._security()

    def _security(self) -> Any:
        """Return the certificates; None leaves them to Dask's own configuration."""
        if not self._tls:
            return None
        import distributed

        make: Any = distributed.Security
        return make(**self._tls, require_encryption=True)

    async def disconnect(self) -> None:
        """Disconnect from the scheduler, waiting a few seconds at most."""
        client, self._client = self._client, None
        self._pulse = None
        if client is not None:
            try:
                await asyncio.wait_for(client.close(), _DIRECT_S)
            except (asyncio.TimeoutError, OSError):
                pass  # the scheduler is lost

    async def close(self) -> None:
        """Disconnect, and close the cluster if the run created it."""
        await self.disconnect()
        cluster, self._made = self._made, None
        if cluster is not None:
            if self._upkeep is not None:
                self._upkeep.give_up()
            try:
                await asyncio.to_thread(cluster.close)
            except (OSError, RuntimeError, AssertionError, asyncio.TimeoutError) as error:
                _log.warning("the cluster %s did not close cleanly: %r", self.name, error)


def _check_tls(address: str, security: Any) -> None:
    """Refuse TLS without certificates, with a clearer message than Dask's about an ssl_context."""
    import dask

    if not address.startswith("tls://") or security is not None:
        return
    if not dask.config.get("distributed.comm.tls.ca-file", None):
        msg = (
            f"the Dask scheduler at {address} uses TLS, and no certificates are set. Give "
            "DaskCompute(address, security={'tls_ca_file': ..., 'tls_client_cert': ..., "
            "'tls_client_key': ...}), or set distributed.comm.tls in Dask's own configuration."
        )
        raise ConfigError(msg)


def find_class(dotted: str) -> Any:
    """Import a class, or a function or method that returns a cluster, by its dotted name.

    Raises
    ------
    ConfigError
        It does not exist, or its module fails to import.
    """
    try:
        return _find(dotted)
    except Exception as error:  # the cluster's own package may raise anything
        msg = f"the cluster class {dotted!r} could not be imported: {_named(error)}."
        raise ConfigError(msg) from error


def _find(dotted: str) -> Any:
    module, _, name = dotted.rpartition(".")
    owner, _, class_name = module.rpartition(".")
    if owner and class_name[:1].isupper():  # a method of a class: package.Class.from_name
        return getattr(getattr(importlib.import_module(owner), class_name), name)
    return getattr(importlib.import_module(module), name)


class _Said(logging.Handler):
    """Keeps what a host writes while a cluster is created: it is not in Dask's exception."""

    def __init__(self) -> None:
        super().__init__()
        self._line = ""

    def emit(self, record: logging.LogRecord) -> None:
        self._line = record.getMessage().strip()

    @property
    def last(self) -> str:
        """The last line, as the end of a sentence, or ""."""
        return f" (the host's last line: {self._line})" if self._line else ""

    def __enter__(self) -> None:
        logging.getLogger(_SSH_LOG).addHandler(self)

    def __exit__(self, *args: object) -> None:
        logging.getLogger(_SSH_LOG).removeHandler(self)


def _named(error: BaseException) -> str:
    """Return an exception as in the last line of its traceback."""
    return f"{type(error).__name__}: {error}".rstrip(": .")


def fill_in(arguments: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """Return arguments with ``env:NAME`` replaced by the values of the variables.

    Raises
    ------
    ConfigError
        A variable is not set.
    """
    filled = dict(arguments)
    for name, value in arguments.items():
        if isinstance(value, Mapping):
            filled[name] = fill_in(value, environ)
        elif isinstance(value, str) and value.startswith(ENVIRONMENT_PREFIX):
            variable = value.removeprefix(ENVIRONMENT_PREFIX)
            if variable not in environ:
                msg = f"the cluster's argument {name} is in the variable {variable}, which is not set."
                raise ConfigError(msg)
            filled[name] = environ[variable]
    return filled


async def can_reach(address: str) -> bool:
    """Return whether this process can connect to a Dask worker directly."""
    scheme, _, rest = address.partition("://")
    host, _, port = rest.rpartition(":")
    if scheme not in {"tcp", "tls"} or not port.isdigit():
        return True
    try:
        opening = asyncio.open_connection(host.strip("[]"), int(port))
        _, writer = await asyncio.wait_for(opening, _DIRECT_S)
    except (OSError, asyncio.TimeoutError):
        return False
    writer.close()
    return True


async def refusals(client: Any, addresses: Sequence[str]) -> dict[str, str]:
    """Return a reason for each Dask worker without this package in this version."""
    ours = importlib.metadata.version(PACKAGE)
    answers = await client.run(
        importlib.metadata.version, PACKAGE, workers=list(addresses), on_error="return"
    )
    return {
        address: reason
        for address, answer in answers.items()
        if (reason := refusal(address, answer, ours))
    }


def refusal(address: str, answer: object, ours: str) -> str:
    """Return the reason to refuse a Dask worker with this answer, or an empty text."""
    if answer == ours:
        return ""
    if isinstance(answer, importlib.metadata.PackageNotFoundError):
        has = f"has no {PACKAGE}"
    elif isinstance(answer, BaseException):
        return f"the version of the Dask worker {address} could not be read: {answer!r}."
    else:
        has = f"has {PACKAGE} {answer}"
    return (
        f"the Dask worker {address} {has}, and this run was submitted with {ours}. Install that "
        f"version there: pip install 'parallelrun-jupyter[dask]=={ours}'"
    )
