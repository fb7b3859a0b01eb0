"""The paths that the outputs of steps are written to."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from typing import Any

from ...data.storage.datastores import place_of
from ...data.storage.storage import StorageSpec, protocol_of
from ...data.storage.transfer import why_not_written
from ...errors import ParallelRunError
from ...pipelines.folder import STEP_RUN_ID, OutputRecord
from ..model.expressions import Text
from ..model.jobs import Step
from ..model.places import Place
from ..model.problems import Problem
from ..model.values import Output
from .assets import Assets
from .scope import Scope, output_type

_DATASTORE = re.compile(r"azureml://(?:.*/)?datastores/(?P<name>[^/]+)/paths/(?P<path>.*)")
_DEFAULT = "_"
"""Stands for the name of the default datastore."""


@dataclass(frozen=True, slots=True)
class _Target:
    """The datastore of an output, its folder or URL, the path in it, and the store's spec."""

    datastore: str = ""
    root: str = ""
    path: str = ""
    storage: dict[str, Any] | None = None


def merged_output(step: Step, name: str, scope: Scope) -> Output:
    """Return an output with the type, path and name of the pipeline's output that it is bound to."""
    own = step.outputs.get(name, Output())
    above = scope.outputs.get(own.binding.name, Output()) if own.binding else Output()
    type_ = output_type(step, name, scope)
    return replace(
        own, type=type_, path=own.path or above.path, name=own.name or above.name,
        version=own.version or above.version,
    )  # fmt: skip


class Targets:
    """Chooses the paths of outputs.

    Parameters
    ----------
    assets
        The datastores of this machine.
    run_id
        The id of the pipeline's run: the value of ``${{name}}``.
    default_datastore
        The name in the job's settings; empty for the workspace's.
    """

    def __init__(self, assets: Assets, run_id: str, default_datastore: str) -> None:
        self._assets = assets
        self._run_id = run_id
        self._default = default_datastore.removeprefix("azureml:") or _DEFAULT

    def record(self, step: Step, name: str, scope: Scope) -> OutputRecord:
        """Return the record of an output."""
        output = merged_output(step, name, scope)
        place = output.path.place if output.path else step.places.of(f"outputs.{name}")
        is_file = output.type == "uri_file"
        target = self._target(output.path, name, place)
        path = target.path.rstrip("/")
        if target.storage is not None and is_file and not path:
            message = f"the output {name!r} is a file, but {target.root} is a container; add the file's name."
            self._assets.problems.append(Problem(place, message))
        return OutputRecord(
            name, target.datastore, target.root, path, register_as=output.name, is_file=is_file,
            version=output.version, storage=target.storage, staged=target.storage is not None,
        )  # fmt: skip

    def _target(self, path: Text | None, name: str, place: Place) -> _Target:
        text = f"azureml://datastores/{self._default}/paths/azureml/{STEP_RUN_ID}/{name}"
        if path is not None:
            facts = {
                "name": self._run_id, "default_datastore": self._default, "output_name": name,
            }  # fmt: skip
            text = path.filled(lambda binding: facts.get(binding.name, ""))
        if match := _DATASTORE.fullmatch(text):
            wanted = "" if match["name"] == _DEFAULT else match["name"]
            datastore = self._assets.datastore(wanted, place)
            if datastore is None:
                return _Target()
            return self._in_store(
                _Target(datastore.name, datastore.url, match["path"].strip("/")),
                datastore.storage, name, place,
            )  # fmt: skip
        if protocol_of(text) and not text.startswith("azureml:"):
            return self._at_url(text, name, place)
        if text.startswith("azureml:"):
            message = (
                f"the output {name!r} goes to {text}, which is no path; expected a local path, "
                "azureml://datastores/NAME/paths/PATH, or the URL of a store, such as "
                "az://CONTAINER/PATH."
            )
            self._assets.problems.append(Problem(place, message))
            return _Target()
        folder = os.path.dirname(os.path.abspath(place.file)) if place.line else os.getcwd()
        target = os.path.normpath(os.path.join(folder, os.path.expanduser(text)))
        return _Target("", os.path.dirname(target), os.path.basename(target))

    def _at_url(self, text: str, name: str, place: Place) -> _Target:
        """Return the target at a URL; a registered datastore with its container opens it."""
        try:
            found = place_of(text)
        except ParallelRunError as error:
            self._assets.problems.append(Problem(place, f"the output {name!r}: {error}"))
            return _Target()
        protocol, _, rest = found.path.partition("://")
        container, _, path = rest.partition("/")
        target = _Target("", f"{protocol}://{container}", path)
        return self._in_store(target, found.storage, name, place)

    def _in_store(
        self, target: _Target, storage: StorageSpec | None, name: str, place: Place
    ) -> _Target:
        if storage is None:
            return target
        reason = why_not_written(storage)
        if reason:
            url = f"{target.root}/{target.path}"
            message = f"the output {name!r} cannot be written to {url}: {reason}"
            self._assets.problems.append(Problem(place, message))
        return replace(target, storage=storage.spec())
