"""The forms in which people write where data is, made one: a protocol, a URL and its options."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from ...errors import InputError

ENDPOINT_VARIABLE = "PARALLELRUN_BLOB_ENDPOINT"
DEFAULT_ENDPOINT = "https://{account}.blob.core.windows.net"

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
class Url:
    """Where something is: ``az://container/path``, whatever form it was written in."""

    protocol: str
    url: str
    options: Mapping[str, Any] = field(default_factory=dict)


def protocol_of(path: str) -> str:
    """Return the protocol of a URL in lower case; nothing for a local path."""
    match = _URL.match(path)
    protocol = match[1].lower() if match else ""
    return "" if protocol in {"file", "local"} else protocol


def local_path(path: str) -> str:
    """Return a local path without the ``file://`` that it may begin with."""
    return re.sub(r"^(file|local)://", "", path, flags=re.IGNORECASE)


def datastore_of(url: str) -> tuple[str, str] | None:
    """Return the datastore and the path in it that an ``azureml://`` URL names.

    Raises
    ------
    InputError
        It names something else, such as a data asset.
    """
    if protocol_of(url) != "azureml":
        return None
    match = _AZUREML.match(url)
    if not match:
        msg = (
            f"{url!r} names no datastore; expected azureml://datastores/NAME/paths/PATH, or the "
            "long form with subscription, resource group and workspace before it."
        )
        raise InputError(msg)
    return match["name"], match["path"] or ""


def parse_url(text: str, endpoint: str = "") -> Url:
    """Read a URL in any of the forms that Azure and fsspec know.

    Parameters
    ----------
    text
        ``az://container/path``, ``abfs[s]://container@account.dfs.core.windows.net/path``,
        ``wasb[s]://container@account.blob.core.windows.net/path``,
        ``https://account.blob.core.windows.net/container/path`` with or without a shared access
        signature, or any other URL, which stays as it is.
    endpoint
        The template of blob endpoints, so that URLs below it are known as blobs too.

    Raises
    ------
    InputError
        The URL names no container, carries a password, or is of a protocol of one process only.
    """
    protocol = protocol_of(text)
    if "::" in text:
        msg = (
            f"{text!r} is a chain of URLs (with '::'), which is not read; give the last one alone."
        )
        raise InputError(msg)
    if protocol == "memory":
        msg = (
            f"{text!r} is in the memory of this process, and a run has processes of its own, "
            "which cannot see it. Write it to a folder or a store, and give that."
        )
        raise InputError(msg)
    if protocol in _AZURE:
        return _azure(text)
    if protocol in {"http", "https"}:
        return _blob_endpoint(text, endpoint) or _web(protocol, text)
    return Url(protocol, text)


def _azure(text: str) -> Url:
    # Not by urlsplit: a blob's name may hold '?', '#' and line ends, and they belong to it.
    place, slash, path = text.partition("://")[2].partition("/")
    container, at, host = place.rpartition("@")
    if not at:
        return _blob(place, slash + path, {}, text)
    return _blob(container, slash + path, _account_of(host, text), text)


def _account_of(host: str, text: str) -> dict[str, Any]:
    match = _AZURE_HOST.fullmatch(host.lower())
    if not match:
        msg = (
            f"{text!r} names the host {host!r}; expected ACCOUNT.blob.core.windows.net or "
            "ACCOUNT.dfs.core.windows.net (or that of another cloud)."
        )
        raise InputError(msg)
    options = {"account_name": match["account"]}
    if match["cloud"] != "core.windows.net":
        options["blob_endpoint"] = f"https://{host.lower().replace('.dfs.', '.blob.')}"
    return options


def _blob_endpoint(text: str, endpoint: str) -> Url | None:
    """Read ``https://account.blob.core.windows.net/container/path``; None for other hosts."""
    parts = urlsplit(text)
    if _AZURE_HOST.fullmatch(parts.netloc.lower()):
        options, path = _account_of(parts.netloc, text), parts.path
    else:
        before, found, after = endpoint.partition("{account}")
        pattern = f"{re.escape(before)}([a-z0-9]{{3,24}}){re.escape(after)}(/[^?]*)"
        match = re.match(pattern, text) if found else None
        if match is None:
            return None
        options, path = {"account_name": match[1]}, match[2]
    if parts.query:
        if "sig" not in parse_qs(parts.query):
            msg = f"{text!r} has a query that is no shared access signature; leave it out."
            raise InputError(msg)
        options["sas_token"] = parts.query
    container, _, rest = unquote(path).lstrip("/").partition("/")
    return _blob(container, "/" + rest, options, text.partition("?")[0])


def _blob(container: str, path: str, options: dict[str, Any], text: str) -> Url:
    if not container:
        msg = f"{text!r} names no container; expected az://CONTAINER/PATH."
        raise InputError(msg)
    inside = path.lstrip("/")
    return Url("az", f"az://{container}/{inside}" if inside else f"az://{container}", options)


def _web(protocol: str, text: str) -> Url:
    parts = urlsplit(text)
    if "@" in parts.netloc:
        msg = (
            f"the URL of {parts.hostname} holds a user and a password, which would be stored with "
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
