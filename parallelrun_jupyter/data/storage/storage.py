"""A storage: the file system that URLs are read through, with its credentials by reference."""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ...errors import ConfigError, InputError, MissingExtraError
from ...formatting import looks_secret, nearest_hint
from .credentials import EnvironmentVariable, Held, Reference, hold, look_up
from .credentials import reference_of as _reference_of

AZURE_VARIABLES = {
    "account_name": "AZURE_STORAGE_ACCOUNT_NAME",
    "account_key": "AZURE_STORAGE_ACCOUNT_KEY",
    "connection_string": "AZURE_STORAGE_CONNECTION_STRING",
    "sas_token": "AZURE_STORAGE_SAS_TOKEN",
    "client_id": "AZURE_STORAGE_CLIENT_ID",
    "client_secret": "AZURE_STORAGE_CLIENT_SECRET",
    "tenant_id": "AZURE_STORAGE_TENANT_ID",
}
"""What adlfs reads where no credential is given; a run refers to them by name."""

_AZURE_CREDENTIALS = ("account_key", "connection_string", "sas_token", "client_secret")
_HASTE = {"read_timeout": 15, "retry_total": 1, "retry_connect": 1}
_MANNERS = {*_HASTE, "anon", "connection_timeout", "max_concurrency", "timeout"}
"""Options that say how a store is talked to, not which one it is."""

_EXTRAS = {"az": "azure", "http": "azure", "https": "azure"}


@dataclass(frozen=True, slots=True)
class StorageSpec:
    """A file system of fsspec, by protocol and options.

    Parameters
    ----------
    protocol
        Such as ``az``, ``https`` or ``s3``.
    options
        What fsspec is given: JSON, and no secret.
    secrets
        Options whose values are credentials, and where those are.
    """

    protocol: str
    options: Mapping[str, Any] = field(default_factory=dict)
    secrets: Mapping[str, Reference] = field(default_factory=dict)

    def spec(self) -> dict[str, Any]:
        """Return what may be stored: JSON, with credentials by reference."""
        return {
            "protocol": self.protocol,
            "options": dict(self.options),
            "secrets": {name: where.spec() for name, where in self.secrets.items()},
        }

    @classmethod
    def of_spec(cls, spec: Mapping[str, Any]) -> StorageSpec:
        """Return the storage that a record describes."""
        secrets = {name: _reference_of(where) for name, where in spec["secrets"].items()}
        return cls(spec["protocol"], spec["options"], secrets)

    @property
    def title(self) -> str:
        """What to call it in a message."""
        account = self.options.get("account_name")
        if account:
            return f"the storage account {account!r}"
        return (
            "the web server" if self.protocol in {"http", "https"} else f"the {self.protocol} store"
        )

    @property
    def identity(self) -> str:
        """What tells this store from others, whatever it is opened with."""
        import hashlib

        known = {k: v for k, v in self.options.items() if k not in _MANNERS}
        text = json.dumps([self.protocol, known], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def references(self) -> Iterator[tuple[str, Reference]]:
        """Yield what each credential opens, and where it is."""
        for where in self.secrets.values():
            yield self.title, where

    def held_names(self) -> set[str]:
        """Return the variables in which a driver is given credentials."""
        return {where.name for where in self.secrets.values() if isinstance(where, Held)}

    def hasty(self) -> StorageSpec:
        """Return the same for somebody who waits in front of it: it gives up within a minute."""
        if self.protocol != "az":
            return self
        return replace(self, options={**_HASTE, **self.options})

    def open(self, environ: Mapping[str, str] = os.environ, **how: Any) -> Any:
        """Return the file system; ``how`` is fsspec's own, such as ``asynchronous=True``.

        Raises
        ------
        ConfigError
            A credential is not where it is said to be, or the options do not fit.
        MissingExtraError
            The package for this protocol is not installed.
        InputError
            fsspec knows no such protocol.
        """
        options = dict(self.options)
        for name, where in self.secrets.items():
            options[name] = look_up(where, self.title, environ)
        made = _class_of(self.protocol)
        if self.protocol == "az":
            from .azure_blobs import open_blobs

            return open_blobs(made, options, self.title, how)
        try:
            return made(**options, **how, use_listings_cache=False, skip_instance_cache=True)
        except (TypeError, ValueError) as error:
            msg = f"{self.title} could not be opened with the given storage_options: {error}"
            raise ConfigError(msg) from error


@dataclass(frozen=True, slots=True)
class Place:
    """Where something is: a local path, or a URL and the storage to read it through."""

    path: str
    storage: StorageSpec | None = None


def _class_of(protocol: str) -> Any:
    """Return the file system class of a protocol."""
    extra = _EXTRAS.get(protocol)
    command = (
        f"pip install 'parallelrun-jupyter[{extra}]'"
        if extra
        else f"pip install fsspec, and the package that gives it {protocol}:// (s3fs, gcsfs, ...)"
    )
    try:
        fsspec = importlib.import_module("fsspec")
        known = importlib.import_module("fsspec.registry").known_implementations
        made = fsspec.get_filesystem_class(protocol)
        if protocol in {"http", "https"}:
            importlib.import_module("aiohttp")
    except ImportError as error:
        if "fsspec" in sys.modules and not extra:
            hint = known[protocol].get("err", "") if protocol in known else ""
            command = hint or f"the package that gives fsspec {protocol}:// ({error})"
        msg = f"{protocol}:// needs a package that is not installed: {command}"
        raise MissingExtraError(msg) from error
    except ValueError as error:
        hint = nearest_hint(protocol, [*known, "azureml", "wasbs"])
        msg = (
            f"no store is known by {protocol}://.{hint} Give az://, abfss://, https://, "
            "another protocol of fsspec, or a local path."
        )
        raise InputError(msg) from error
    return made


def make_storage(
    protocol: str,
    from_url: Mapping[str, Any],
    given: Mapping[str, Any],
    *,
    label: str,
    owner: str = "",
    environ: Mapping[str, str] = os.environ,
    endpoint: str = "",
) -> StorageSpec:
    """Make a storage of options as they were given, which may hold credentials.

    Parameters
    ----------
    protocol
        The protocol.
    from_url
        Options that the URL carries, such as its account.
    given
        ``storage_options``; they win.
    label
        What credentials that were typed are named after, such as a datastore or a container. That
        of a container, which other accounts may have as well, gets the account with it.
    owner
        Whose credentials they are: ``datastore NAME``, or a URL. A newer value of the same owner
        takes the place of the older one, and nobody else's does.
    environ
        Where Azure's variables are looked for, when no credential is given.
    endpoint
        The template of blob endpoints.

    Raises
    ------
    ConfigError
        An option is no JSON, or the account of a container is not known.
    """
    merged = {**from_url, **given}
    options: dict[str, Any] = {}
    secrets: dict[str, Reference] = {}
    if protocol == "az":
        merged = _azure_options(merged, environ, endpoint)
    typed: dict[str, Any] = {}
    for name, value in merged.items():
        if isinstance(value, EnvironmentVariable) or (value and looks_secret(name, value)):
            typed[name] = value
        elif value is not None:
            options[name] = value
    try:
        json.dumps(options)
    except TypeError as error:
        msg = (
            f"storage_options holds something that cannot be written down ({error}); expected "
            "texts, numbers, true or false, and dictionaries and lists of these."
        )
        raise ConfigError(msg) from error
    bare = StorageSpec(protocol, options)
    if "://" in owner:
        label = f"{options.get('account_name', protocol)}_{label}"
    for name, value in typed.items():
        # Two accounts, or two endpoints, can have a container of the same name.
        secrets[name] = hold(label, name, value, owner=f"{owner} {bare.identity}")
    return StorageSpec(protocol, options, secrets)


def _azure_options(
    merged: dict[str, Any], environ: Mapping[str, str], endpoint: str
) -> dict[str, Any]:
    """Settle which account, which endpoint and which kind of access."""
    merged = dict(merged)
    credential = merged.pop("credential", None)
    is_identity = credential == "identity" or type(credential).__name__.endswith("AzureCredential")
    if isinstance(credential, str) and not is_identity:
        merged["sas_token"] = credential  # as adlfs takes it
    elif credential is not None and not is_identity:
        merged["credential"] = credential  # refused where it is held, with what to give instead
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
            "the storage account of the container is not known. Write "
            "az://CONTAINER@ACCOUNT.blob.core.windows.net/PATH, give "
            "storage_options={'account_name': ...}, set AZURE_STORAGE_ACCOUNT_NAME, or register "
            "the container: Datastore.register_azure_blob_container(...)."
        )
        raise ConfigError(msg)
    if endpoint and not merged.get("blob_endpoint") and not merged.get("connection_string"):
        merged["blob_endpoint"] = endpoint
    return merged


def _from_variables(account: str | None, environ: Mapping[str, str]) -> dict[str, Any]:
    """Return what Azure's environment variables say of an account, or of any."""
    if account and environ.get(AZURE_VARIABLES["account_name"]) not in {None, account}:
        return {}  # they are of another one
    return {
        name: EnvironmentVariable(variable) if name in _AZURE_CREDENTIALS else environ[variable]
        for name, variable in AZURE_VARIABLES.items()
        if environ.get(variable)
    }
