"""Conda and pip packages of an environment."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


class _Default(str):
    """The default Python version; distinguishable from the same version set by the user."""

    __slots__ = ()


PYTHON_DEFAULT_VERSION = _Default("3.8")


class CondaDependencies:
    """Conda and pip packages of an environment.

    Parameters
    ----------
    conda_dependencies_file_path
        A conda YAML file with the packages.
    """

    DEFAULT_NUMBER_OF_CONDA_PACKAGES = 1

    def __init__(
        self, conda_dependencies_file_path: str | None = None, _underlying_structure: Any = None
    ) -> None:
        self._python: str = PYTHON_DEFAULT_VERSION
        self._conda: list[str] = []
        self._pip: list[str] = []
        self._channels: list[str] = ["anaconda", "conda-forge"]
        if conda_dependencies_file_path is not None:
            import yaml

            text = Path(conda_dependencies_file_path).read_text(encoding="utf-8")
            _underlying_structure = yaml.safe_load(text)
        if _underlying_structure is not None:
            self._read(_underlying_structure)

    def _read(self, record: dict[str, Any]) -> None:
        self._channels = list(record.get("channels") or [])
        for package in record.get("dependencies") or ():
            if isinstance(package, dict):
                self._pip += [str(spec) for spec in package.get("pip") or ()]
            else:
                self.add_conda_package(str(package))

    @staticmethod
    def create(
        pip_indexurl: str | None = None,
        pip_packages: list[str] | None = None,
        conda_packages: list[str] | None = None,
        python_version: str = PYTHON_DEFAULT_VERSION,
        pin_sdk_version: bool = True,
    ) -> CondaDependencies:
        """Return packages; the Python version and pins apply only if an environment is built."""
        created = CondaDependencies()
        created._python = python_version if isinstance(python_version, str) else str(python_version)
        for package in conda_packages or ():
            created.add_conda_package(package)
        for package in pip_packages or ("azureml-defaults",):
            created.add_pip_package(package)
        return created

    def add_conda_package(self, conda_package: str) -> None:
        """Add a conda package."""
        if conda_package.replace(" ", "").startswith("python="):
            self._python = conda_package.rpartition("=")[2].strip()
        elif conda_package not in self._conda:
            self._conda.append(conda_package)

    def add_pip_package(self, pip_package: str) -> None:
        """Add a pip package."""
        if pip_package not in self._pip:
            self._pip.append(pip_package)

    def add_channel(self, channel: str) -> None:
        """Add a conda channel, which is only recorded."""
        if channel not in self._channels:
            self._channels.append(channel)

    def add_tensorflow_pip_package(
        self, core_type: str = "cpu", version: str | None = None
    ) -> None:
        """Add TensorFlow."""
        name = "tensorflow-gpu" if core_type == "gpu" else "tensorflow"
        self.add_pip_package(f"{name}=={version}" if version else name)

    def remove_conda_package(self, conda_package: str) -> None:
        """Remove a conda package."""
        self._conda = [package for package in self._conda if package != conda_package]

    def remove_pip_package(self, pip_package: str) -> None:
        """Remove a pip package."""
        self._pip = [package for package in self._pip if package != pip_package]

    def remove_channel(self, channel: str) -> None:
        """Remove a conda channel."""
        self._channels = [other for other in self._channels if other != channel]

    def set_python_version(self, version: str) -> None:
        """Set the Python version."""
        self._python = str(version)

    @property
    def requested_python(self) -> str:
        """The Python version set by the user, or an empty string."""
        return "" if isinstance(self._python, _Default) else self._python

    def forget_python_version(self) -> None:
        """Accept any Python version."""
        self._python = PYTHON_DEFAULT_VERSION

    def get_python_version(self) -> str:
        """Return the Python version."""
        return self._python

    @property
    def conda_packages(self) -> Any:
        """The conda packages."""
        return iter(self._conda)

    @property
    def pip_packages(self) -> Any:
        """The pip packages."""
        return iter(self._pip)

    @property
    def conda_channels(self) -> Any:
        """The conda channels."""
        return iter(self._channels)

    def as_dict(self) -> dict[str, Any]:
        """Return the packages in the structure of a conda YAML file."""
        packages: list[Any] = [f"python={self._python!s}"]
        if self._pip:
            packages.append({"pip": list(self._pip)})
        packages += self._conda
        return {"channels": list(self._channels), "dependencies": packages}

    def serialize_to_string(self) -> str:
        """Return the packages as the text of a conda YAML file."""
        import yaml

        return str(yaml.safe_dump(self.as_dict(), sort_keys=False))

    def save(self, path: str | None = None) -> str:
        """Write a conda YAML file."""
        target = path or "conda_dependencies.yml"
        Path(target).write_text(self.serialize_to_string(), encoding="utf-8")
        return target

    def save_to_file(self, base_directory: str, conda_file_path: str | None = None) -> str:
        """Write a conda YAML file into a folder."""
        name = conda_file_path or "conda_dependencies.yml"
        self.save(os.path.join(base_directory, name))
        return name
