"""Object stores as described by URLs and options, with credentials by reference."""

from __future__ import annotations

import importlib
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from ...errors import ConfigError, InputError, MissingExtraError
from ...formatting import looks_secret, nearest_hint
from .credentials import (
    EnvironmentVariable,
    Held,
    Reference,
    azure_options,
    hold,
    look_up,
    reference_of,
)

ENDPOINT_VARIABLE = "PARALLELRUN_BLOB_ENDPOINT"
_SHORT_TIMEOUTS = {"read_timeout": 15, "retry_total": 1, "retry_connect": 1}
_TUNING = {*_SHORT_TIMEOUTS, "anon", "connection_timeout", "max_concurrency", "timeout"}
"""Options that tune the requests and are not part of a store's identity."""

_EXTRAS = {"az": "azure", "http": "azure", "https": "azure"}

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_AZURE = {"az", "abfs", "abfss", "wasb", "wasbs"}
_AZURE_HOST = re.compile(
    r"(?P<account>[a-z0-9]{3,24})\.(?:[a-z0-9]+\.)?(?:blob|dfs)\."
    r"(?P<cloud>core\.[a-z.]+|storage\.azure\.net|fabric\.microsoft\.com)"
)
_AZUREML = re.compile(
    r"azureml://(?:.*/)?datastores/(?P<name>[^/]+)(?:/paths(?:/(?P<path>.*))?)?/?$"
)


@dataclass(frozen=True, slots=True)
class StorageSpec:
    """A file system of fsspec: its protocol and options.

    Parameters
    ----------
    protocol
        Such as ``az``, ``https`` or ``s3``.
    options
        Options of fsspec, as JSON and without secrets.
    secrets
        Options that are credentials, with the reference to each value.
    """

    protocol: str
    options: Mapping[str, Any] = field(default_factory=dict)
    secrets: Mapping[str, Reference] = field(default_factory=dict)

    def spec(self) -> dict[str, Any]:
        """Return the storage as JSON, with credentials by reference."""
        return {
            "protocol": self.protocol,
            "options": dict(self.options),
            "secrets": {name: ref.spec() for name, ref in self.secrets.items()},
        }

    @classmethod
    def of_spec(cls, spec: Mapping[str, Any]) -> StorageSpec:
        """Return the storage of a spec."""
        secrets = {name: reference_of(reference) for name, reference in spec["secrets"].items()}
        return cls(spec["protocol"], spec["options"], secrets)

    @property
    def title(self) -> str:
        """Name of the store, for messages."""
        account = self.options.get("account_name")
        if account:
            return f"the storage account {account!r}"
        is_web = self.protocol in {"http", "https"}
        return "the web server" if is_web else f"the {self.protocol} store"

    @property
    def identity(self) -> str:
        """Digest that is equal for all storages of one store, regardless of their credentials."""
        import hashlib

        options = {k: v for k, v in self.options.items() if k not in _TUNING}
        text = json.dumps([self.protocol, options], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def references(self) -> Iterator[tuple[str, Reference]]:
        """Yield the reference to each credential, with the title of the store."""
        for reference in self.secrets.values():
            yield self.title, reference

    def held_variables(self) -> set[str]:
        """Return the names of the variables that pass credentials from memory to a driver."""
        return {ref.name for ref in self.secrets.values() if isinstance(ref, Held)}

    def with_short_timeouts(self) -> StorageSpec:
        """Return a copy with timeouts below a minute, for interactive checks."""
        if self.protocol != "az":
            return self
        return replace(self, options={**_SHORT_TIMEOUTS, **self.options})

    def open(self, environ: Mapping[str, str] = os.environ, **arguments: Any) -> Any:
        """Return the file system.

        Parameters
        ----------
        environ
            The environment variables, for credentials.
        arguments
            Arguments of fsspec, such as ``asynchronous=True``.

        Raises
        ------
        ConfigError
            A credential is missing, or the options are invalid.
        MissingExtraError
            The package for this protocol is not installed.
        InputError
            fsspec does not know the protocol.
        """
        options = dict(self.options)
        for name, reference in self.secrets.items():
            options[name] = look_up(reference, self.title, environ)
        filesystem = _filesystem_of(self.protocol)
        if self.protocol == "az":
            from .azure_blobs import open_blobs

            return open_blobs(filesystem, options, self.title, arguments)
        try:
            return filesystem(
                **options, **arguments, use_listings_cache=False, skip_instance_cache=True
            )
        except (TypeError, ValueError) as error:
            msg = f"{self.title} could not be opened with the given storage_options: {error}"
            raise ConfigError(msg) from error


@dataclass(frozen=True, slots=True)
class Place:
    """A local path, or a URL with the storage that opens it."""

    path: str
    storage: StorageSpec | None = None


def _filesystem_of(protocol: str) -> Any:
    """Return fsspec's class for a protocol."""
    extra = _EXTRAS.get(protocol)
    command = (
        f"pip install 'parallelrun-jupyter[{extra}]'"
        if extra
        else f"pip install fsspec, and its package for {protocol}:// (s3fs, gcsfs, ...)"
    )
    try:
        fsspec = importlib.import_module("fsspec")
        registry = importlib.import_module("fsspec.registry").known_implementations
        filesystem = fsspec.get_filesystem_class(protocol)
        if protocol in {"http", "https"}:
            importlib.import_module("aiohttp")
    except ImportError as error:
        if "fsspec" in sys.modules and not extra:
            hint = registry[protocol].get("err", "") if protocol in registry else ""
            command = hint or f"fsspec's package for {protocol}:// ({error})"
        msg = f"{protocol}:// needs a package that is not installed: {command}"
        raise MissingExtraError(msg) from error
    except ValueError as error:
        hint = nearest_hint(protocol, [*registry, "azureml", "wasbs"])
        msg = (
            f"unknown protocol {protocol}://.{hint} Give az://, abfss://, https://, another "
            "protocol of fsspec, or a local path."
        )
        raise InputError(msg) from error
    return filesystem


def make_storage(
    protocol: str,
    options: Mapping[str, Any],
    *,
    label: str,
    owner: str = "",
    environ: Mapping[str, str] = os.environ,
) -> StorageSpec:
    """Return the storage for the user's options; typed credentials are kept in memory.

    Parameters
    ----------
    protocol
        The protocol.
    options
        The options from the URL, such as its account, and from the user.
    label
        Name for typed credentials: a datastore or a container. The account is added to the name of
        a container, since other accounts may have a container of the same name.
    owner
        Owner of the credentials: ``datastore NAME``, or a URL. A new value replaces the earlier one
        of the same owner only.
    environ
        Environment variables, for the endpoint and, if no credential is given, for Azure's.

    Raises
    ------
    ConfigError
        An option cannot be stored as JSON, or the account of a container is unknown.
    """
    if protocol == "az":
        options = azure_options(options, environ, environ.get(ENDPOINT_VARIABLE, ""))
    plain: dict[str, Any] = {}
    credentials: dict[str, Any] = {}
    for name, value in options.items():
        if isinstance(value, EnvironmentVariable) or (value and looks_secret(name, value)):
            credentials[name] = value
        elif value is not None:
            plain[name] = value
    try:
        json.dumps(plain)
    except TypeError as error:
        msg = (
            f"storage_options contains a value that cannot be stored as JSON ({error}); expected "
            "texts, numbers, true or false, and dictionaries and lists of these."
        )
        raise ConfigError(msg) from error
    if "://" in owner:
        label = f"{plain.get('account_name', protocol)}_{label}"
    # The identity distinguishes containers of the same name, by account and endpoint.
    owner = f"{owner} {StorageSpec(protocol, plain).identity}"
    secrets = {name: hold(label, name, value, owner=owner) for name, value in credentials.items()}
    return StorageSpec(protocol, plain, secrets)


# URLs


@dataclass(frozen=True, slots=True)
class Url:
    """A URL in its plain form, such as ``az://container/path``, and the options from it."""

    protocol: str
    url: str
    options: Mapping[str, Any] = field(default_factory=dict)


def protocol_of(path: str) -> str:
    """Return the protocol of a URL in lower case; empty for a local path."""
    match = _URL.match(path)
    protocol = match[1].lower() if match else ""
    return "" if protocol in {"file", "local"} else protocol


def local_path(path: str) -> str:
    """Return a local path without ``file://``."""
    return re.sub(r"^(file|local)://", "", path, flags=re.IGNORECASE)


def datastore_of(url: str) -> tuple[str, str] | None:
    """Return the datastore's name and the path of an ``azureml://`` URL; None for other URLs.

    Raises
    ------
    InputError
        The URL does not name a datastore, but for example a data asset.
    """
    if protocol_of(url) != "azureml":
        return None
    match = _AZUREML.match(url)
    if not match:
        msg = (
            f"{url!r} does not name a datastore; expected azureml://datastores/NAME/paths/PATH, or the "
            "long form with subscription, resource group and workspace before it."
        )
        raise InputError(msg)
    return match["name"], match["path"] or ""


def parse_url(text: str, endpoint: str = "") -> Url:
    """Parse a URL in any form of Azure or fsspec.

    Parameters
    ----------
    text
        ``az://container/path``, ``abfs[s]://container@account.dfs.core.windows.net/path``,
        ``wasb[s]://container@account.blob.core.windows.net/path``,
        ``https://account.blob.core.windows.net/container/path`` with or without a shared access
        signature, or any other URL, which is returned unchanged.
    endpoint
        Template of blob endpoints, with ``{account}``; URLs below it are blobs too.

    Raises
    ------
    InputError
        The URL does not name a container, contains a password, is a chain, or is in the memory of
        this process.
    """
    protocol = protocol_of(text)
    if "::" in text:
        msg = f"{text!r} is a chain of URLs (with '::'), which is not supported; give the last one."
        raise InputError(msg)
    if protocol == "memory":
        msg = (
            f"{text!r} is in the memory of this process, and the processes of a run cannot read it. "
            "Write it to a folder or an object store, and give that."
        )
        raise InputError(msg)
    if protocol in _AZURE:
        return _azure(text)
    if protocol in {"http", "https"}:
        return _blob_endpoint(text, endpoint) or _web(protocol, text)
    return Url(protocol, text)


def _azure(text: str) -> Url:
    # Not with urlsplit: the name of a blob may contain '?', '#' and line ends.
    authority, slash, path = text.partition("://")[2].partition("/")
    container, at, host = authority.rpartition("@")
    if not at:
        return _blob(authority, slash + path, {}, text)
    return _blob(container, slash + path, _account_of(host, text), text)


def _account_of(host: str, text: str) -> dict[str, Any]:
    match = _AZURE_HOST.fullmatch(host.lower())
    if not match:
        msg = (
            f"{text!r} names the host {host!r}; expected ACCOUNT.blob.core.windows.net or "
            "ACCOUNT.dfs.core.windows.net (or the host of another cloud)."
        )
        raise InputError(msg)
    options = {"account_name": match["account"]}
    if match["cloud"] != "core.windows.net":
        options["blob_endpoint"] = f"https://{host.lower().replace('.dfs.', '.blob.')}"
    return options


def _blob_endpoint(text: str, endpoint: str) -> Url | None:
    """Parse ``https://account.blob.core.windows.net/container/path``; None for other hosts."""
    parts = urlsplit(text)
    if _AZURE_HOST.fullmatch(parts.netloc.lower()):
        options, path = _account_of(parts.netloc, text), parts.path
    else:
        before, placeholder, after = endpoint.partition("{account}")
        pattern = f"{re.escape(before)}([a-z0-9]{{3,24}}){re.escape(after)}(/[^?]*)"
        match = re.match(pattern, text) if placeholder else None
        if match is None:
            return None
        options, path = {"account_name": match[1]}, match[2]
    if parts.query:
        if "sig" not in parse_qs(parts.query):
            msg = f"{text!r} has a query that is not a shared access signature; remove it."
            raise InputError(msg)
        options["sas_token"] = parts.query
    container, _, rest = unquote(path).lstrip("/").partition("/")
    return _blob(container, "/" + rest, options, text.partition("?")[0])


def _blob(container: str, path: str, options: dict[str, Any], text: str) -> Url:
    if not container:
        msg = f"{text!r} does not name a container; expected az://CONTAINER/PATH."
        raise InputError(msg)
    inside = path.lstrip("/")
    return Url("az", f"az://{container}/{inside}" if inside else f"az://{container}", options)


def _web(protocol: str, text: str) -> Url:
    parts = urlsplit(text)
    if "@" in parts.netloc:
        msg = (
            f"the URL of {parts.hostname} contains a user and a password, which would be stored with "
            "the run. Give them as storage_options={'client_kwargs': {'headers': {...}}}."
        )
        raise InputError(msg)
    if re.search(r"sig|token|key|secret|credential|auth|passw", parts.query, re.IGNORECASE):
        msg = (
            f"the query of {parts.scheme}://{parts.netloc}{parts.path} looks like a credential, "
            "which would be stored with the run. Give it in a header by storage_options, or "
            "download the file first."
        )
        raise InputError(msg)
    return Url(protocol, text)
