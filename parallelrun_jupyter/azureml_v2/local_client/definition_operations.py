"""``environments`` and ``components`` of the client."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Mapping
from typing import Any

from ...errors import ConfigError
from ..execution.assets import conda_record
from ..model.jobs import Component
from ..model.places import NOWHERE
from ..model.problems import JobFileError, Problem
from ..reader.jobs import load_component
from .asset_base import AssetOperations, facts_of
from .azure_objects import component_record, environment_record, is_azures
from .component_files import record_of_component


class EnvironmentOperations(AssetOperations):
    """Registered environments, with the methods of ``MLClient.environments``."""

    kind = "environment"
    azures_class = "Environment"

    def create_or_update(self, environment: Any) -> Any:
        """Register the packages of a conda file, and the name of an image; return the version.

        Raises
        ------
        ConfigError
            The conda file cannot be read.
        """
        name = environment.name or str(uuid.uuid4())
        plain = environment._to_dict() if is_azures(environment) else vars(environment)
        fields = environment_record(
            dict(plain), str(getattr(environment, "base_path", None) or ".")
        )
        problems: list[Problem] = []
        packages = conda_record(fields.get("conda_file"), NOWHERE, problems)
        if problems:
            raise JobFileError(problems)
        conda = fields.get("conda_file")
        record = {
            "python_version": "", "pip": [], "conda": [], "variables": {}, "user_managed": False,
            "docker_enabled": False, **packages, "base_image": fields.get("image"), **facts_of(environment),
        }  # fmt: skip
        if isinstance(conda, Mapping):
            record["conda_dependencies"] = dict(conda)
        label = self._label(name, environment.version)
        self._registry.add_environment(name, label, record)
        return self.get(name, label)

    def _of(self, row: Mapping[str, Any]) -> Any:
        return self._made(
            name=row["name"], version=row["label"], image=row.get("base_image") or "local",
            conda_file=row.get("conda_dependencies"), description=row.get("description"),
            tags=row.get("tags"),
        )  # fmt: skip


class ComponentOperations(AssetOperations):
    """Registered components, with the methods of ``MLClient.components``."""

    kind = "component"

    def create_or_update(self, component: Any, version: str | None = None, **_: Any) -> Any:
        """Register a component with a copy of its code; return the version.

        Parameters
        ----------
        component
            A component of azure-ai-ml, or what ``azureml_v2.load_component`` returns.
        version
            Its version. Default: that of the component, or the next one.

        Raises
        ------
        ConfigError
            It is something else, or has no name.
        """
        component = getattr(component, "component", None) or component  # a step has its component
        if isinstance(component, Component):
            record = record_of_component(component)
        elif is_azures(component) and type(component).__name__.endswith("Component"):
            record = component_record(component)
        else:
            msg = (
                f"the component is of type {type(component).__module__}.{type(component).__name__}; "
                "expected the result of load_component('component.yml'), or a step's .component."
            )
            raise ConfigError(msg)
        name = record.get("name")
        if not name:
            msg = "the component has no name; give its file a line 'name: prepare'."
            raise ConfigError(msg)
        label = self._label(name, version or record.get("version"))
        self._registry.add_component(name, label, record)
        return self.get(name, label)

    def _of(self, row: Mapping[str, Any]) -> Any:
        azures = getattr(sys.modules.get("azure.ai.ml"), "load_component", None)
        return azures(row["file"]) if azures is not None else load_component(row["file"])
