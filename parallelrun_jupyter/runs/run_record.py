"""``run.json``: what was asked for. Written once, before the run starts; never a secret."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from ..errors import RunFolderError

RECORD_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What a run was asked to do.

    Paths are absolute. ``python`` is the interpreter of the workers, ``driver_python`` the one
    that starts drivers. ``environment_variables`` of None have a value that looks like a secret:
    it was handed to the driver in memory, and has to be in the environment of a resume.
    ``compute`` is what the backend needs to find its machines; there, a ``node_count`` of 0 means
    all that there are, and a ``process_count_per_node`` of 0 what each of them may use.
    An argument ``{"side": k}`` stands for the local path of side input ``k``, which is in a store,
    ``{"output": ""}`` for the folder that the script writes its own files to.
    ``output`` is a folder, or with ``output_storage`` a URL. With ``output_parts`` the nodes put the
    rows there themselves, part by part; it stays so wherever the run goes on. ``preload`` are the
    modules that a template imports for all workers; none starts each of them plainly.
    """

    run_id: str
    name: str
    created_at: float
    version: str
    driver_python: str
    python: str
    script: str
    source_directory: str | None
    cwd: str
    inputs: list[dict[str, Any]]
    mini_batch_size: int
    output: str | None
    output_file: str
    arguments: list[Any]
    config: dict[str, Any]
    backend: str
    node_count: int
    process_count_per_node: int
    cores: int
    error_threshold: int
    allowed_failed_count: int | None
    allowed_failed_percent: float | None
    run_invocation_timeout_s: int
    task_overhead_timeout_s: int
    first_task_creation_timeout_s: int
    progress_update_timeout_s: int
    run_max_try: int
    append_rows: bool
    logging_level: str
    environment_variables: dict[str, str | None] = field(default_factory=dict)
    mini_batch_rows: int = 0
    output_format: str = "text"
    partition_keys: list[str] = field(default_factory=list)
    compute: dict[str, Any] = field(default_factory=dict)
    output_storage: dict[str, Any] | None = None
    side_inputs: list[dict[str, Any]] = field(default_factory=list)
    preload: list[str] = field(default_factory=list)
    output_parts: bool = False
    schema: int = RECORD_SCHEMA

    def storages(self) -> list[dict[str, Any]]:
        """Return the specs of the stores that the run reads and writes."""
        found = [spec.get("storage") for spec in (*self.inputs, *self.side_inputs)]
        return [spec for spec in (*found, self.output_storage) if spec]

    def secret_variables(self) -> set[str]:
        """Return the variables in which a driver is given the credentials of those stores."""
        places = [where for spec in self.storages() for where in spec["secrets"].values()]
        return {where["memory"] for where in places if "memory" in where}

    def side_variables(self, paths: Mapping[int, str]) -> dict[str, str]:
        """Return the variables, named as Azure names them, with the paths of named side inputs.

        Parameters
        ----------
        paths
            Where those are that are in stores, by number.
        """
        return {
            f"AZUREML_DATAREFERENCE_{spec['name']}": paths.get(number, spec["paths"][0])
            for number, spec in enumerate(self.side_inputs)
            if spec.get("name")
        }

    def script_arguments(self, paths: Mapping[int, str], output_dir: str) -> list[str]:
        """Return the script's arguments.

        Parameters
        ----------
        paths
            Local paths of the side inputs in stores, by their numbers.
        output_dir
            The folder that the script writes its own files to.
        """

        def word_of(given: Any) -> str:
            match given:
                case {"side": number}:
                    return paths.get(number, "")
                case {"output": _}:
                    return output_dir
                case _:
                    return str(given)

        return [word_of(given) for given in self.arguments]

    def script_path(self, snapshot: str) -> str:
        """Return the path of the entry script in the run's snapshot."""
        return os.path.join(snapshot, self.script)

    def import_paths(self, snapshot: str) -> list[str]:
        """Return where the script's imports are looked for first.

        Beside the script, then the snapshot, then where the run was submitted: a script without a
        source directory may have its modules there.
        """
        paths = [os.path.dirname(self.script_path(snapshot)), snapshot]
        if self.source_directory is None:
            paths.append(self.cwd)
        return list(dict.fromkeys(paths))

    def working_directory(self, snapshot: str) -> str:
        """Return where the script works: the snapshot, or where it was submitted if it is alone."""
        is_alone = self.source_directory is None
        return self.cwd if is_alone and os.path.isdir(self.cwd) else snapshot

    def to_json(self) -> str:
        """Return the text of ``run.json``."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str, where: str) -> RunRecord:
        """Read ``run.json``; unknown keys of newer versions are ignored.

        Raises
        ------
        RunFolderError
            The text is not such a record.
        """
        try:
            record = json.loads(text)
            known = {f.name for f in fields(cls)}
            return cls(**{key: value for key, value in record.items() if key in known})
        except (ValueError, TypeError, AttributeError) as error:
            msg = f"{where} is not the record of a run ({error}); the folder is damaged."
            raise RunFolderError(msg) from error
