"""``run.json``: the specification of a run. Written once, before the run starts; without secrets."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from ..errors import RunFolderError

RECORD_SCHEMA = 2

FOLLOWED = "azureml.foreign"
"""The backend of a run that shows a job of others."""

_Section = TypeVar("_Section")


@dataclass(frozen=True, slots=True)
class EntryScript:
    """The entry script and the environment of its workers.

    Parameters
    ----------
    path
        The entry script, relative to the run's snapshot.
    source_directory
        The folder that the snapshot was copied from; None for a single script.
    cwd
        The directory that the run was submitted from.
    modules
        SHA-256 of the modules in ``cwd`` that a single script imports, by path in it. Only updates
        read it.
    python
        The interpreter of the workers.
    is_python_named
        Whether ``environment`` named that interpreter. Otherwise a node on another machine uses
        its own.
    arguments
        ``{"side": k}`` represents the local path of side input ``k``, which is in an object
        store; ``{"output": ""}`` the folder that the script writes its own files to.
    environment_variables
        None represents a value that looks like a secret. The driver received it in memory; a resume
        expects it in its environment.
    preload
        Modules that a fork server imports for all workers; if empty, workers are started directly.
    logging_level
        ``WARNING``, ``INFO`` or ``DEBUG``.
    call
        What a call of the function gets, if the script is that of a function of the notebook:
        ``item``, ``keywords`` or ``batch``; empty for other scripts.
    uses
        The names of the variables that the script gets by value. For each with code (functions,
        classes) the Python version that can load it, such as ``3.11``; an empty text for plain data.
        The values are in the run's folder.
    """

    path: str
    source_directory: str | None
    cwd: str
    python: str
    is_python_named: bool = False
    arguments: list[Any] = field(default_factory=list)
    environment_variables: dict[str, str | None] = field(default_factory=dict)
    preload: list[str] = field(default_factory=list)
    logging_level: str = "INFO"
    modules: dict[str, str] = field(default_factory=dict)
    call: str = ""
    uses: dict[str, str] = field(default_factory=dict)

    def path_in(self, snapshot: str) -> str:
        """Return the absolute path of the entry script in the run's snapshot."""
        return os.path.join(snapshot, self.path)

    def import_paths(self, snapshot: str) -> list[str]:
        """Return the first entries of ``sys.path``: beside the script, then the snapshot.

        A script without a source directory may have its modules in the directory that the run was
        submitted from, so this one comes last.
        """
        paths = [os.path.dirname(self.path_in(snapshot)), snapshot]
        if self.source_directory is None:
            paths.append(self.cwd)
        return list(dict.fromkeys(paths))

    def working_directory(self, snapshot: str) -> str:
        """Return the snapshot; for a single script, the directory it was submitted from."""
        is_single = self.source_directory is None
        return self.cwd if is_single and os.path.isdir(self.cwd) else snapshot

    def argv(self, side_paths: Mapping[int, str], output_dir: str) -> list[str]:
        """Return the arguments as text.

        Parameters
        ----------
        side_paths
            Local paths of the side inputs that are in object stores, by number.
        output_dir
            The folder that the script writes its own files to.
        """

        def text_of(argument: Any) -> str:
            match argument:
                case {"side": number}:
                    return side_paths.get(number, "")
                case {"output": _}:
                    return output_dir
                case _:
                    return str(argument)

        return [text_of(argument) for argument in self.arguments]

    def recorded_variables(self) -> dict[str, str]:
        """Return the environment variables whose values are in the record."""
        return {
            name: value for name, value in self.environment_variables.items() if value is not None
        }


@dataclass(frozen=True, slots=True)
class RunInputs:
    """The specs of the inputs, and how they are divided into mini-batches.

    Parameters
    ----------
    reuse_from
        The run whose rows of unchanged items an update takes; empty for none.
    update_by
        How a later or this update recognizes unchanged items: ``version`` (size and time, or ETag)
        or ``digest`` (SHA-256 of the content where the time has changed).
    run_duplicates_once
        Whether local files with the content of an earlier one get a copy of its rows.
    """

    datasets: list[dict[str, Any]] = field(default_factory=list)
    side_inputs: list[dict[str, Any]] = field(default_factory=list)
    mini_batch_size: int = 0
    mini_batch_rows: int = 0
    partition_keys: list[str] = field(default_factory=list)
    reuse_from: str = ""
    update_by: str = "version"
    run_duplicates_once: bool = False

    def side_variables(self, side_paths: Mapping[int, str]) -> dict[str, str]:
        """Return Azure's environment variables with the paths of the named side inputs.

        Parameters
        ----------
        side_paths
            Local paths of the side inputs that are in object stores, by number.
        """
        return {
            f"AZUREML_DATAREFERENCE_{spec['name']}": side_paths.get(number, spec["paths"][0])
            for number, spec in enumerate(self.side_inputs)
            if spec.get("name")
        }


@dataclass(frozen=True, slots=True)
class RunOutput:
    """The place and format of the output.

    Parameters
    ----------
    destination
        An absolute path of a folder, or with ``storage`` a URL. None: the run's own folder.
    storage
        The spec of the object store.
    file_name
        Name of the file, or of the dataset with ``in_parts``.
    format
        ``text``, ``csv``, ``parquet`` or ``jsonl``.
    append_rows
        Whether the rows of all mini-batches are merged into that file.
    in_parts
        Whether the nodes upload the rows to the object store, part by part. It stays so after a
        resume on another compute.
    """

    destination: str | None = None
    storage: dict[str, Any] | None = None
    file_name: str = ""
    format: str = "text"
    append_rows: bool = True
    in_parts: bool = False

    @property
    def url(self) -> str:
        """The URL of the file or dataset in the object store."""
        return f"{self.destination}/{self.file_name}"


@dataclass(frozen=True, slots=True)
class Placement:
    """The machines of a run.

    Parameters
    ----------
    backend
        A module of ``parallelrun_jupyter.backends``.
    compute
        The spec by which the backend finds its machines.
    node_count
        Number of nodes; 0 means all that the backend offers.
    process_count_per_node
        Worker processes on each node; 0 means as many as its cores allow.
    cores
        Cores of the machine that submitted the run.
    requested_node_count, requested_process_count_per_node
        The settings of the run's configuration, for a move to another compute. None: its default.
    """

    backend: str = "local"
    compute: dict[str, Any] = field(default_factory=dict)
    node_count: int = 1
    process_count_per_node: int = 1
    cores: int = 1
    requested_node_count: int | None = None
    requested_process_count_per_node: int | None = None


@dataclass(frozen=True, slots=True)
class RunLimits:
    """The limits of `ParallelRunConfig`, by the same names; times are in seconds.

    ``api`` is ``v2`` for a run of a job of SDK v2, whose names of the limits are then shown. The
    defaults of the last six are those of runs recorded before they existed.
    """

    error_threshold: int = 0
    allowed_failed_count: int | None = None
    allowed_failed_percent: float | None = None
    run_invocation_timeout: int = 60
    task_overhead_timeout: int = 600
    first_task_creation_timeout: int = 600
    progress_update_timeout: int = 1260
    run_max_try: int = 3
    isolate_failures: bool = False
    retry_delay: float = 0.0
    retry_on: list[str] = field(default_factory=list)
    no_retry_on: list[str] = field(default_factory=list)
    warns_of_extra_rows: bool = True
    api: str = ""


@dataclass(frozen=True, slots=True)
class RunCalls:
    """Calls of ``run()`` that wait for a server.

    Parameters
    ----------
    concurrency
        Calls in flight at once in each worker.
    by_item
        Whether a call gets one item (a path, a row as a dict) in place of a mini-batch of one item.
    rate_per_s, tokens_per_s
        Most calls that start, and most tokens that they spend, in a second, over the whole run; 0 for
        no limit.
    token_prices
        US dollars for a million tokens by name: ``input`` and ``output``; empty if they cost nothing.
    budget_usd
        US dollars that the run may spend; None for no limit.
    """

    concurrency: int = 1
    by_item: bool = False
    rate_per_s: float = 0.0
    tokens_per_s: float = 0.0
    token_prices: dict[str, float] = field(default_factory=dict)
    budget_usd: float | None = None

    @property
    def is_limited(self) -> bool:
        """Whether calls are counted and limited: several are in flight, or a limit is set."""
        return self.concurrency > 1 or bool(self.rate_per_s or self.tokens_per_s or self.budget_usd)


_SECTIONS: dict[str, type[Any]] = {
    "script": EntryScript,
    "inputs": RunInputs,
    "output": RunOutput,
    "placement": Placement,
    "limits": RunLimits,
    "calls": RunCalls,
}


@dataclass(frozen=True, slots=True)
class RunRecord:
    """The specification of a run.

    Paths are absolute. ``created_at`` is in seconds since the epoch. ``driver_python`` is the
    interpreter that starts drivers.
    """

    run_id: str
    name: str
    created_at: float
    version: str
    driver_python: str
    script: EntryScript
    inputs: RunInputs
    output: RunOutput
    placement: Placement
    limits: RunLimits
    description: str = ""
    schema: int = RECORD_SCHEMA
    calls: RunCalls = field(default_factory=RunCalls)
    #: who is told that the run has ended; URLs with secrets are in environment variables named here
    notify: list[str] = field(default_factory=list)

    @property
    def is_followed(self) -> bool:
        """Whether the run shows a job of others."""
        return self.placement.backend == FOLLOWED

    @property
    def has_variables(self) -> bool:
        """Whether inputs are variables of a notebook, whose values are in the run's folder."""
        return any(spec.get("kind") == "memory" for spec in self.inputs.datasets)

    @property
    def has_tables_only(self) -> bool:
        """Whether all inputs are tables in files."""
        return all(spec.get("kind") == "tabular" for spec in self.inputs.datasets)

    def with_data_in(self, folder: Path) -> RunRecord:
        """Return the record with the values of variables in a folder: the run's own may be moved."""
        if not self.has_variables:
            return self
        datasets = [
            {**spec, "path": str(folder / os.path.basename(spec["path"]))}
            if "path" in spec
            else spec
            for spec in self.inputs.datasets
        ]
        return replace(self, inputs=replace(self.inputs, datasets=datasets))

    def storages(self) -> list[dict[str, Any]]:
        """Return the specs of the object stores that the run reads and writes."""
        datasets = (*self.inputs.datasets, *self.inputs.side_inputs)
        storages = [*(spec.get("storage") for spec in datasets), self.output.storage]
        return [storage for storage in storages if storage]

    def secret_variables(self) -> set[str]:
        """Return the environment variables that hold the credentials of those object stores."""
        references = [
            reference for spec in self.storages() for reference in spec["secrets"].values()
        ]
        return {reference["memory"] for reference in references if "memory" in reference}

    def on(self, **placement: Any) -> RunRecord:
        """Return the record with some fields of the placement replaced."""
        return replace(self, placement=replace(self.placement, **placement))

    def to_json(self) -> str:
        """Return the text of ``run.json``."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str, source: str) -> RunRecord:
        """Read ``run.json``; unknown keys of newer versions are ignored.

        Raises
        ------
        RunFolderError
            The text is not a run record; the message names its ``source``.
        """
        try:
            values = json.loads(text)
            if values.get("schema") == 1:
                values = _from_schema_1(values)
            for name, section in _SECTIONS.items():
                if name == "calls":  # records of earlier versions have none
                    values.setdefault(name, {})
                values[name] = _known_fields(section, values[name])
            return _known_fields(cls, values)
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            msg = f"{source} is not the record of a run ({error}); the folder is damaged."
            raise RunFolderError(msg) from error


def _known_fields(section: type[_Section], values: Mapping[str, Any]) -> _Section:
    names = {f.name for f in fields(section)}  # type: ignore[arg-type] # always a dataclass
    return section(**{name: value for name, value in values.items() if name in names})


_SCHEMA_1_NAMES = {
    "script": {
        "path": "script",
    },
    "inputs": {
        "datasets": "inputs",
    },
    "output": {
        "destination": "output",
        "storage": "output_storage",
        "file_name": "output_file",
        "format": "output_format",
        "in_parts": "output_parts",
    },
    "placement": {},
    "calls": {},
    "limits": {
        "run_invocation_timeout": "run_invocation_timeout_s",
        "task_overhead_timeout": "task_overhead_timeout_s",
        "first_task_creation_timeout": "first_task_creation_timeout_s",
        "progress_update_timeout": "progress_update_timeout_s",
    },
}
"""Names of schema 1, in which all fields were in one mapping; other names are the same."""


def _from_schema_1(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Nest the fields of a record of version 0.1.0 before the record had sections."""
    config = flat["config"]
    flat = {
        **flat,
        "is_python_named": config.get("environment") is not None,
        "requested_node_count": config.get("node_count"),
        "requested_process_count_per_node": config.get("process_count_per_node"),
    }
    nested: dict[str, Any] = {**flat, "description": config.get("description", "")}
    for name, section in _SECTIONS.items():
        old_names = _SCHEMA_1_NAMES[name]
        pairs = ((f.name, old_names.get(f.name, f.name)) for f in fields(section))
        nested[name] = {new: flat[old] for new, old in pairs if old in flat}
    return nested | {"schema": RECORD_SCHEMA}
