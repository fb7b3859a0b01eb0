"""Azure ML as compute target: its settings, checked without importing Azure's packages."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import ConfigError, MissingExtraError
from ..formatting import looks_secret, nearest_hint

PREFIX = "azureml:"
"""Begins the name of a compute in Azure ML, as in Azure's own files."""

TOKENS_VARIABLE = "PARALLELRUN_AZUREML_TOKENS"
"""The variable with the access tokens of a credential object, for the driver: JSON, by scope."""

STORAGE_SCOPE = "https://storage.azure.com/.default"

_CLOUDS = {
    "AzureCloud": ("https://management.azure.com", "https://ml.azure.com"),
    "AzureChinaCloud": ("https://management.chinacloudapi.cn", "https://ml.azure.cn"),
    "AzureUSGovernment": ("https://management.usgovcloudapi.net", "https://ml.azure.us"),
}
"""The resource manager and Azure ML, as tokens name them, by cloud."""

DEFAULT_COMPUTE = "cpu-cluster"
DEFAULT_IMAGE = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04"

_IDS = ("subscription_id", "resource_group", "workspace_name")
_SPEC_KEYS = ("workspace", "compute", "instance_count", "environment", "client_options")
_ENVIRONMENT_KEYS = ("image", "conda_file")
_CONFIG_FILES = ("config.json", ".azureml/config.json", "aml_config/config.json")
_CONFIG_FORM = '{"subscription_id": "...", "resource_group": "...", "workspace_name": "..."}'


class AzureMLCompute:
    """A compute of an Azure ML workspace: the run is a job there.

    Parameters
    ----------
    workspace
        The workspace: the path of its ``config.json``, a dict with ``subscription_id``,
        ``resource_group`` and ``workspace_name``, or an ``MLClient``. Default: the ``config.json`` of
        the current directory or one above it, as Azure's ``MLClient.from_config``.
    compute
        The name of the compute in the workspace, such as ``cpu-cluster`` or ``serverless``.
    instance_count
        Number of nodes, if the run's ``node_count`` is not set. Default: 1.
    environment
        The environment of the job: ``azureml:NAME@latest``, ``azureml:NAME:1``,
        ``azureml://registries/...``, the path of a conda file, or a dict with ``image`` and
        ``conda_file``. Default: what the script imports, in the versions installed here.
    credential
        A credential object of azure-identity. It stays in this process; the run's driver gets its
        access tokens, in memory. Default: the driver uses ``DefaultAzureCredential``.
    subscription_id, resource_group, workspace_name
        The workspace, in place of ``workspace``.
    client_options
        More keyword arguments for ``MLClient``, as JSON values, such as ``cloud``.

    Raises
    ------
    ConfigError
        The workspace is given twice or not wholly, ``config.json`` cannot be read, or a value is
        invalid.

    Examples
    --------
    >>> AzureMLCompute(compute="cpu-cluster", instance_count=4)
    AzureMLCompute(compute='cpu-cluster', instance_count=4)
    """

    backend = "azureml"

    def __init__(
        self,
        workspace: object = None,
        *,
        compute: str = DEFAULT_COMPUTE,
        instance_count: int = 1,
        environment: str | os.PathLike[str] | Mapping[str, Any] | None = None,
        credential: object = None,
        subscription_id: str | None = None,
        resource_group: str | None = None,
        workspace_name: str | None = None,
        client_options: Mapping[str, Any] | None = None,
    ) -> None:
        ids = dict(zip(_IDS, (subscription_id, resource_group, workspace_name), strict=True))
        self.credential = credential
        if credential is None and workspace is not None and _is_client(workspace):
            self.credential = getattr(workspace, "_credential", None)
        self._ids = _workspace_of(workspace, ids)
        self.compute = _checked_compute(compute)
        self.instance_count = _checked_count(instance_count)
        self.environment = _checked_environment(environment)
        self.client_options = _checked_options(client_options)

    @classmethod
    def of_spec(cls, spec: Mapping[str, Any]) -> AzureMLCompute:
        """Return the compute that a record, a settings file or a YAML mapping describes.

        Raises
        ------
        ConfigError
            A key is unknown, or a value is invalid.
        """
        for key in spec:
            if key not in _SPEC_KEYS:
                msg = (
                    f"a compute of Azure ML has no key {key!r}.{nearest_hint(key, _SPEC_KEYS)} The "
                    f"keys are: {', '.join(_SPEC_KEYS)}."
                )
                raise ConfigError(msg)
        return cls(**{key: value for key, value in spec.items() if value is not None})

    @property
    def workspace(self) -> dict[str, str] | None:
        """The ids of the workspace; None if no ``config.json`` is found."""
        if self._ids is None:
            path = _config_file_above(Path.cwd())
            return None if path is None else _ids_in(path)
        return dict(self._ids)

    def spec(self) -> dict[str, Any]:
        """Return the description for a run's record: names and ids, without secrets."""
        spec = {
            "workspace": self.workspace,
            "compute": self.compute,
            "instance_count": self.instance_count if self.instance_count != 1 else None,
            "environment": self.environment,
            "client_options": self.client_options or None,
        }
        return {key: value for key, value in spec.items() if value is not None}

    def setting(self) -> Any:
        """Return the value of ``compute_target`` in YAML: ``azureml:NAME``, or a mapping."""
        spec = self.spec()
        if self._ids is None:
            spec.pop("workspace", None)
        return f"{PREFIX}{self.compute}" if list(spec) == ["compute"] else spec

    @property
    def scopes(self) -> tuple[str, ...]:
        """What the driver asks tokens for: the resource manager, Azure ML, and storage."""
        options = self.client_options
        management, ml = _CLOUDS.get(options.get("cloud", ""), _CLOUDS["AzureCloud"])
        metadata = options.get("cloud_metadata") or {}
        resources = (
            metadata.get("resource_manager", management),
            metadata.get("aml_resource_id", ml),
        )
        return (*(f"{one.rstrip('/')}/.default" for one in resources), STORAGE_SCOPE)

    def secrets(self) -> dict[str, str]:
        """Return the environment variables that only the driver gets: tokens of the credential.

        Raises
        ------
        ConfigError
            The credential gives no token.
        """
        if self.credential is None:
            return {}
        tokens = {scope: _token_of(self.credential, scope) for scope in self.scopes}
        return {TOKENS_VARIABLE: json.dumps(tokens)}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AzureMLCompute) and (self._facts(), self.credential) == (
            other._facts(),
            other.credential,
        )

    def __hash__(self) -> int:
        return hash(json.dumps(self._facts(), sort_keys=True))

    def _facts(self) -> dict[str, Any]:
        return {**self.spec(), "workspace": self._ids}

    def __repr__(self) -> str:
        shown = {**self.spec(), "workspace": self._ids}
        named = [f"{name}={value!r}" for name, value in shown.items() if value is not None]
        return f"AzureMLCompute({', '.join(named)})"

    def check(self, *, is_dry: bool = False) -> None:
        """Check, at submit, that a job can be sent.

        Parameters
        ----------
        is_dry
            Whether the job is only written to a folder, for which neither Azure's packages nor a
            workspace are needed.

        Raises
        ------
        MissingExtraError
            ``azure-ai-ml`` or ``azure-identity`` is not installed.
        ConfigError
            There is no ``config.json``, or the conda file does not exist.
        """
        path = self.conda_file
        if isinstance(path, str) and not os.path.isfile(path):
            msg = f"environment names the conda file {path!r}, which does not exist."
            raise ConfigError(msg)
        if is_dry:
            return
        require_azure_ai_ml()
        if self.workspace is None:
            msg = (
                f"the workspace of the compute {self.compute!r} is not known: there is no config.json in "
                f"{Path.cwd()} or above it. Download it from the workspace's page in Azure, or give "
                "AzureMLCompute(subscription_id=..., resource_group=..., workspace_name=...)."
            )
            raise ConfigError(msg)

    @property
    def conda_file(self) -> str | dict[str, Any] | None:
        """The conda file of the environment, as a path or as its content; None if there is none."""
        match self.environment:
            case {"conda_file": file}:
                return file  # type: ignore[no-any-return] # checked
            case str(text) if not text.startswith(PREFIX):
                return text
        return None


def require_azure_ai_ml() -> None:
    """Check that Azure's client is installed.

    Raises
    ------
    MissingExtraError
        It is not; the message gives the command that installs it.
    """
    for module, package in (("azure.ai.ml", "azure-ai-ml"), ("azure.identity", "azure-identity")):
        if not _is_installed(module):
            msg = (
                f"running on Azure ML needs the package {package!r}, which is not installed here: "
                "pip install 'parallelrun-jupyter[azureml-jobs]'"
            )
            raise MissingExtraError(msg)


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # azure itself, or azure.ai
        return False


def _is_client(value: object) -> bool:
    """Return whether a value looks like an ``MLClient``."""
    return isinstance(getattr(value, "workspace_name", None), str) and hasattr(
        value, "resource_group_name"
    )


def _workspace_of(workspace: object, ids: Mapping[str, str | None]) -> dict[str, str] | None:
    """Return the ids of the workspace; None to look for ``config.json``."""
    given = {name: value for name, value in ids.items() if value is not None}
    if workspace is None:
        return _checked_ids(given, "AzureMLCompute") if given else None
    if given:
        msg = (
            f"the workspace is given twice, by workspace= and by {', '.join(given)}; expected one of "
            "them."
        )
        raise ConfigError(msg)
    if isinstance(workspace, Mapping):
        return _checked_ids(workspace, "workspace")
    if isinstance(workspace, str | os.PathLike):
        path = Path(workspace).expanduser().absolute()
        return _ids_in(_config_file_in(path) or path if path.is_dir() else path)
    if _is_client(workspace):
        names = ("subscription_id", "resource_group_name", "workspace_name")
        values = {key: getattr(workspace, name) for key, name in zip(_IDS, names, strict=True)}
        return _checked_ids(values, "the MLClient")
    msg = (
        f"workspace is {workspace!r:.80}; expected the path of a config.json, a dict {_CONFIG_FORM}, or "
        "an MLClient."
    )
    raise ConfigError(msg)


def _checked_ids(values: Mapping[Any, Any], source: str) -> dict[str, str]:
    ids = {name: str(values.get(name) or "") for name in _IDS}
    missing = [name for name, value in ids.items() if not value]
    if missing:
        msg = f"{source} has no {' and no '.join(missing)}; expected {_CONFIG_FORM}."
        raise ConfigError(msg)
    return ids


def _config_file_in(folder: Path) -> Path | None:
    return next((folder / name for name in _CONFIG_FILES if (folder / name).is_file()), None)


def _config_file_above(folder: Path) -> Path | None:
    for parent in (folder, *folder.parents):
        path = _config_file_in(parent)
        if path is not None:
            return path
    return None


def _ids_in(path: Path) -> dict[str, str]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = (
            f"{str(path)!r} could not be read as the config.json of a workspace ({error}); expected "
            f"{_CONFIG_FORM}."
        )
        raise ConfigError(msg) from error
    return _checked_ids(values if isinstance(values, dict) else {}, repr(str(path)))


def _checked_compute(name: object) -> str:
    text = name.removeprefix(PREFIX) if isinstance(name, str) else ""
    if not text or "/" in text:
        msg = f"compute is {name!r}; expected the name of a compute of the workspace, such as 'cpu-cluster'."
        raise ConfigError(msg)
    return text


def _checked_count(count: object) -> int:
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        msg = f"instance_count is {count!r}; expected a whole number of nodes, from 1."
        raise ConfigError(msg)
    return count


def _checked_environment(value: object) -> Any:
    """Return an environment as JSON, with an absolute path."""
    if value is None:
        return None
    if isinstance(value, Mapping):
        return _checked_image(value)
    if isinstance(value, str) and value.startswith(PREFIX):
        return value
    if isinstance(value, str | os.PathLike) and str(value).endswith((".yml", ".yaml")):
        return os.path.abspath(os.path.expanduser(value))
    msg = (
        f"environment is {value!r:.80}; expected 'azureml:NAME@latest', 'azureml:NAME:1', "
        "'azureml://registries/...', the path of a conda file (.yml), or a dict with image and conda_file."
    )
    raise ConfigError(msg)


def _checked_image(value: Mapping[Any, Any]) -> dict[str, Any]:
    for key in value:
        if key not in _ENVIRONMENT_KEYS:
            msg = (
                f"environment has no key {key!r}.{nearest_hint(str(key), _ENVIRONMENT_KEYS)} The keys "
                f"are: {', '.join(_ENVIRONMENT_KEYS)}."
            )
            raise ConfigError(msg)
    image, conda_file = value.get("image"), value.get("conda_file")
    if not isinstance(image, str) or not image:
        msg = f"environment has the image {image!r}; expected a text such as {DEFAULT_IMAGE!r}."
        raise ConfigError(msg)
    if isinstance(conda_file, Mapping):
        return {"image": image, "conda_file": dict(conda_file)}
    if conda_file is None:
        return {"image": image}
    return {"image": image, "conda_file": os.path.abspath(os.path.expanduser(conda_file))}


def _checked_options(options: Mapping[str, Any] | None) -> dict[str, Any]:
    for name, value in (options or {}).items():
        if looks_secret(name) and isinstance(value, str):
            msg = (
                f"client_options has a {name!r}, whose value would be stored on disk. Give a "
                "credential object: AzureMLCompute(credential=...)."
            )
            raise ConfigError(msg)
    try:
        return dict(json.loads(json.dumps(dict(options or {}))))
    except (TypeError, ValueError) as error:
        msg = (
            f"client_options is stored as JSON, which cannot represent it ({error}); give texts, "
            "numbers, lists and dicts."
        )
        raise ConfigError(msg) from error


def _token_of(credential: Any, scope: str) -> dict[str, Any]:
    if not hasattr(credential, "get_token"):
        msg = (
            f"credential is {credential!r:.80}; expected a credential of azure-identity, such as "
            "InteractiveBrowserCredential()."
        )
        raise ConfigError(msg)
    try:
        token = credential.get_token(scope)
    except _errors_of_azure() as error:
        msg = f"the credential gave no token for {scope} ({type(error).__name__}: {error}). Sign in, and submit again."
        raise ConfigError(msg) from error
    return {"token": token.token, "expires_on": int(token.expires_on)}


def _errors_of_azure() -> tuple[type[Exception], ...]:
    """Return the base classes of the errors of a credential."""
    try:
        from azure.core.exceptions import AzureError
    except ImportError:  # a credential of the user's own
        return OSError, ValueError
    return AzureError, OSError, ValueError
