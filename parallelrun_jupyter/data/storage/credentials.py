"""Credentials by reference: records store the reference, and the value is read on use.

A reference is JSON: ``{"env": NAME}``, an environment variable; ``{"keyring": [service, user]}``,
an entry of the system's keyring; or ``{"memory": NAME}``, a value that the user typed. A typed
value stays in the memory of its process and is passed to the driver in the environment variable
NAME. It is never written to disk, so a resume in another process needs that variable.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from ...errors import ConfigError, MissingExtraError

AZURE_VARIABLES = {
    "account_name": "AZURE_STORAGE_ACCOUNT_NAME",
    "account_key": "AZURE_STORAGE_ACCOUNT_KEY",
    "connection_string": "AZURE_STORAGE_CONNECTION_STRING",
    "sas_token": "AZURE_STORAGE_SAS_TOKEN",
    "client_id": "AZURE_STORAGE_CLIENT_ID",
    "client_secret": "AZURE_STORAGE_CLIENT_SECRET",
    "tenant_id": "AZURE_STORAGE_TENANT_ID",
}
"""Environment variables that adlfs reads if it gets no credential; a run refers to them by name."""

_AZURE_CREDENTIALS = ("account_key", "connection_string", "sas_token", "client_secret")
_held: dict[str, str] = {}
"""Typed values by variable name; not in os.environ, which every child process inherits."""

_owners: dict[str, set[str]] = {}
"""The owners of each variable in `_held`."""

_PLAIN_LABEL = re.compile(r"[a-z0-9_]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class EnvironmentVariable:
    """A credential in an environment variable of the run's driver process.

    Parameters
    ----------
    name
        Name of the variable.
    """

    name: str

    def spec(self) -> dict[str, Any]:
        """Return the reference as JSON."""
        return {"env": self.name}


@dataclass(frozen=True, slots=True)
class Keyring:
    """A credential in the system's keyring, read with the ``keyring`` package.

    Parameters
    ----------
    service, username
        As in ``keyring.get_password(service, username)``.
    """

    service: str
    username: str

    def spec(self) -> dict[str, Any]:
        """Return the reference as JSON."""
        return {"keyring": [self.service, self.username]}


@dataclass(frozen=True, slots=True)
class Held:
    """A credential that the user typed, held in memory under a variable name."""

    name: str
    is_json: bool = False

    def spec(self) -> dict[str, Any]:
        """Return the reference as JSON."""
        return {"memory": self.name, **({"json": True} if self.is_json else {})}


Reference: TypeAlias = EnvironmentVariable | Keyring | Held


def hold(label: str, option: str, value: Any, *, owner: str = "") -> Reference:
    """Hold a credential in memory, and return a reference to it.

    Credentials of different owners share a variable only if they are equal.

    Parameters
    ----------
    label
        Name of the store, such as a datastore's; the variable is named after it and the option.
    option
        Name of the option.
    value
        The credential: text, JSON, or a reference, which is returned unchanged.
    owner
        Unique name of the store: a new value replaces the earlier one of the same owner. Default:
        the label.

    Raises
    ------
    ConfigError
        The value is an object, which cannot be passed to another process.
    """
    if isinstance(value, EnvironmentVariable | Keyring | Held):
        return value
    is_json = not isinstance(value, str)
    try:
        text = json.dumps(value) if is_json else value
    except TypeError as error:
        msg = (
            f"{option} is a {type(value).__name__}, which cannot be passed to the run's driver "
            "process. Give a text, EnvironmentVariable('NAME'), Keyring(service, username), "
            "or for a managed identity or an az login credential='identity'."
        )
        raise ConfigError(msg) from error
    name = _free_name(_variable(label, option), text, owner or label)
    _held[name] = text
    _owners.setdefault(name, set()).add(owner or label)
    return Held(name, is_json=is_json)


def _variable(label: str, option: str) -> str:
    """Return the name of a credential's variable, unique by label.

    A digest is added to labels with characters that a variable's name cannot have.
    """
    suffix = ""
    if not _PLAIN_LABEL.fullmatch(label):
        suffix = f"_{hashlib.sha256(label.encode()).hexdigest()[:8]}"
    name = re.sub(r"[^A-Za-z0-9_]+", "_", f"{label}{suffix}_{option}")
    return f"PARALLELRUN_{name}".upper()


def _free_name(name: str, text: str, owner: str) -> str:
    """Return the name, with a number if it is in use for a different value of another owner."""
    number, candidate = 1, name
    while candidate in _held and _held[candidate] != text and _owners.get(candidate) != {owner}:
        number += 1
        candidate = f"{name}_{number}"
    return candidate


def reference_of(spec: Mapping[str, Any]) -> Reference:
    """Return the credential reference in a spec."""
    if "env" in spec:
        return EnvironmentVariable(spec["env"])
    if "keyring" in spec:
        return Keyring(*spec["keyring"])
    return Held(spec["memory"], bool(spec.get("json")))


def take_credentials(names: Iterable[str], environ: MutableMapping[str, str]) -> None:
    """Move credentials from the environment of this process to its memory: its children get neither.

    Parameters
    ----------
    names
        The variables of held credentials.
    environ
        The environment variables; those with these names are removed.
    """
    for name in names:
        value = environ.pop(name, None)
        if value is not None:
            _held[name] = value


def look_up(reference: Reference, title: str, environ: Mapping[str, str]) -> Any:
    """Return the value of a credential.

    Parameters
    ----------
    reference
        The reference.
    title
        Name of the store, for the error.
    environ
        The environment variables.

    Raises
    ------
    ConfigError
        The credential is missing; the message explains how to set it.
    MissingExtraError
        The ``keyring`` package is not installed.
    """
    if isinstance(reference, Keyring):
        return _from_keyring(reference, title)
    name = reference.name
    # A typed value is newer than the variable that this process was started with.
    value = environ.get(name)
    if isinstance(reference, Held):
        value = _held.get(name, value)
    if value is None:
        raise ConfigError(_missing(reference, title))
    return json.loads(value) if isinstance(reference, Held) and reference.is_json else value


def _missing(reference: EnvironmentVariable | Held, title: str) -> str:
    why = "whose value is not stored on disk" if isinstance(reference, Held) else "which is not set"
    return (
        f"the credential of {title} is in the environment variable {reference.name}, {why}. "
        f"Set it first: os.environ[{reference.name!r}] = ..."
    )


def _from_keyring(reference: Keyring, title: str) -> str:
    try:
        import keyring
    except ImportError as error:
        msg = (
            f"the credential of {title} is in the keyring, which needs the package keyring: "
            "pip install keyring"
        )
        raise MissingExtraError(msg) from error
    value: str | None = keyring.get_password(reference.service, reference.username)
    if value is None:
        msg = (
            f"the credential of {title} is not in the keyring. Add it: "
            f"keyring set {reference.service} {reference.username}"
        )
        raise ConfigError(msg)
    return value


def variables_for_driver(
    references: Iterable[tuple[str, Reference]], environ: Mapping[str, str]
) -> dict[str, str]:
    """Return the environment variables with held credentials that a driver needs.

    Parameters
    ----------
    references
        The title of each store, and a reference.
    environ
        The environment variables of this process.

    Raises
    ------
    ConfigError
        A credential is neither in memory nor in the environment.
    """
    variables = {}
    for title, reference in references:
        if isinstance(reference, Held):
            value = _held.get(reference.name, environ.get(reference.name))
            if value is None:
                raise ConfigError(_missing(reference, title))
            variables[reference.name] = value
        elif isinstance(reference, EnvironmentVariable) and reference.name not in environ:
            raise ConfigError(_missing(reference, title))
    return variables


def azure_options(
    options: Mapping[str, Any], environ: Mapping[str, str], endpoint: str
) -> dict[str, Any]:
    """Complete the options of a container: its account, its endpoint, and a credential or none.

    Parameters
    ----------
    options
        The options of the URL and of the user.
    environ
        The environment variables, read if the options have no credential.
    endpoint
        Template of blob endpoints, with ``{account}``; empty for Azure's public cloud.

    Raises
    ------
    ConfigError
        The account is unknown.
    """
    merged = dict(options)
    credential = merged.pop("credential", None)
    is_identity = credential == "identity" or type(credential).__name__.endswith("AzureCredential")
    if isinstance(credential, str) and not is_identity:
        merged["sas_token"] = credential  # as in adlfs
    elif credential is not None and not is_identity:
        merged["credential"] = credential  # hold() refuses it
    if is_identity:
        merged["anon"] = False
    chosen = is_identity or merged.get("anon") is not None
    if not chosen and not any(merged.get(name) for name in _AZURE_CREDENTIALS):
        merged.update(_from_variables(merged.get("account_name"), environ))
    if not merged.get("account_name") and isinstance(merged.get("connection_string"), str):
        parts = dict(p.partition("=")[::2] for p in merged["connection_string"].split(";"))
        merged["account_name"] = parts.get("AccountName")
    if not merged.get("account_name") and not merged.get("connection_string"):
        msg = (
            "the storage account of the container is unknown. Write "
            "az://CONTAINER@ACCOUNT.blob.core.windows.net/PATH, give "
            "storage_options={'account_name': ...}, set AZURE_STORAGE_ACCOUNT_NAME, or register "
            "the container: Datastore.register_azure_blob_container(...)."
        )
        raise ConfigError(msg)
    if endpoint and not merged.get("blob_endpoint") and not merged.get("connection_string"):
        merged["blob_endpoint"] = endpoint
    return merged


def _from_variables(account: str | None, environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the options from Azure's environment variables, if they are for this account."""
    if account and environ.get(AZURE_VARIABLES["account_name"]) not in {None, account}:
        return {}
    return {
        name: EnvironmentVariable(variable) if name in _AZURE_CREDENTIALS else environ[variable]
        for name, variable in AZURE_VARIABLES.items()
        if environ.get(variable)
    }
