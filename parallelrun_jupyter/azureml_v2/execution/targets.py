"""The paths that the outputs of steps are written to."""

from __future__ import annotations

import os
import re
from dataclasses import replace

from ...data.storage.storage import protocol_of
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


def merged_output(step: Step, name: str, scope: Scope) -> Output:
    """Return an output with the type, path and name of the pipeline's output that it is bound to."""
    own = step.outputs.get(name, Output())
    above = scope.outputs.get(own.binding.name, Output()) if own.binding else Output()
    type_ = output_type(step, name, scope)
    return replace(own, type=type_, path=own.path or above.path, name=own.name or above.name)


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
        store, root, path = self._target(output.path, name, place)
        is_file = output.type == "uri_file"
        return OutputRecord(
            name, store, root, path.rstrip("/"), register_as=output.name, is_file=is_file
        )

    def _target(self, path: Text | None, name: str, place: Place) -> tuple[str, str, str]:
        """Return the datastore, its folder, and the path in it, of an output."""
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
                return "", "", ""
            if datastore.storage is None:
                return datastore.name, datastore.url, match["path"].strip("/")
            text = datastore.url
        if protocol_of(text) or text.startswith("azureml:"):
            message = (
                f"the output {name!r} goes to {text}; here outputs are written to folders of this "
                "machine. Give a local path."
            )
            self._assets.problems.append(Problem(place, message))
            return "", "", ""
        folder = os.path.dirname(os.path.abspath(place.file)) if place.line else os.getcwd()
        target = os.path.normpath(os.path.join(folder, os.path.expanduser(text)))
        return "", os.path.dirname(target), os.path.basename(target)
