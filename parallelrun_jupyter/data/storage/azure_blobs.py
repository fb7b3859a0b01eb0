"""Azure blobs: adlfs over a client with our endpoint, credentials and timeouts.

adlfs does not accept an endpoint over plain http, and its own client waits 15 seconds before a
retry. So this module creates the client and passes it to adlfs.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from azure.core import MatchConditions
from azure.core.credentials import AzureSasCredential
from azure.core.exceptions import ResourceModifiedError, ResourceNotFoundError
from azure.storage.blob.aio import BlobServiceClient, ExponentialRetry

from ...errors import ConfigError, InputError
from ...formatting import nearest_hint

_ENDPOINT = "https://{account}.blob.core.windows.net"
_CONNECT_S = 20
_READ_S = 60
"""A store that sends nothing for this long has stalled."""

_CHUNK_BYTES = 4 << 20
_OWN_OPTIONS = {
    "account_name", "account_key", "connection_string", "sas_token", "client_id",
    "client_secret", "tenant_id", "anon", "blob_endpoint", "account_host",
    "connection_timeout", "read_timeout", "retry_total", "retry_connect",
}  # fmt: skip


def open_blobs(
    filesystem: Any, options: Mapping[str, Any], title: str, arguments: Mapping[str, Any]
) -> Any:
    """Return an adlfs file system over our own client.

    Parameters
    ----------
    filesystem
        The class of adlfs.
    options
        ``storage_options`` with credentials, and ``blob_endpoint``.
    title
        Name of the store, for messages.
    arguments
        Arguments of fsspec, such as ``asynchronous``.

    Raises
    ------
    ConfigError
        The credentials do not fit the endpoint, or an option is unknown.
    """
    others = {k: v for k, v in options.items() if k not in _OWN_OPTIONS}
    parameters = inspect.signature(filesystem.__init__).parameters
    names = _OWN_OPTIONS.union(parameters) - {"self", "kwargs"}
    for name in others:
        if name not in names:  # adlfs would ignore it
            msg = (
                f"storage_options contains {name!r}, which is not an option of {title}."
                f"{nearest_hint(name, names)} Its options are {', '.join(sorted(names))}."
            )
            raise ConfigError(msg)
    client, credential = _client(options, title)
    # With anon, adlfs does not look for an identity itself.
    store = filesystem(
        account_name=options.get("account_name") or "unnamed", anon=True,
        use_listings_cache=False, skip_instance_cache=True, **others, **arguments,
    )  # fmt: skip
    store.service_client = client
    store.credential = credential
    return store


def _client(options: Mapping[str, Any], title: str) -> tuple[Any, Any]:
    """Return the client, and the credential to close with it (None: nothing to close)."""
    tuning = {
        "retry_policy": ExponentialRetry(
            initial_backoff=1, increment_base=2, random_jitter_range=1,
            retry_total=options.get("retry_total", 4),
            retry_connect=options.get("retry_connect", 3),
        ),
        "connection_timeout": options.get("connection_timeout", _CONNECT_S),
        "read_timeout": options.get("read_timeout", _READ_S),
        "max_single_get_size": _CHUNK_BYTES,
        "max_chunk_get_size": _CHUNK_BYTES,
    }  # fmt: skip
    try:
        if options.get("connection_string"):
            connection = options["connection_string"]
            return BlobServiceClient.from_connection_string(connection, **tuning), None
        account = options["account_name"]
        host = options.get("account_host")
        template = options.get("blob_endpoint") or (f"https://{host}" if host else _ENDPOINT)
        url = template.replace("{account}", account)
        credential, to_close = _credential(options, url, title)
        return BlobServiceClient(url, credential=credential, **tuning), to_close
    except ConfigError:  # a ValueError too
        raise
    except ValueError as error:
        msg = f"{title} could not be opened: {str(error).rstrip('.')}. Check its key, token or connection string."
        raise ConfigError(msg) from error


def _credential(options: Mapping[str, Any], url: str, title: str) -> tuple[Any, Any]:
    if options.get("account_key"):
        return {name: options[name] for name in ("account_name", "account_key")}, None
    if options.get("sas_token"):
        return AzureSasCredential(options["sas_token"].lstrip("?")), None
    if options.get("anon"):
        return None, None
    if not url.startswith("https://"):
        msg = (
            f"{title} is at {url}, and an identity's token is sent over https only. Give a key, a "
            "SAS token or anon=True, or an https endpoint."
        )
        raise ConfigError(msg)
    from azure.identity.aio import ClientSecretCredential, DefaultAzureCredential

    identity: Any = (
        ClientSecretCredential(options["tenant_id"], options["client_id"], options["client_secret"])
        if options.get("client_secret")
        else DefaultAzureCredential()
    )
    return identity, identity


async def download(store: Any, url: str, path: str, version: int | str) -> None:
    """Download a blob to a local file, if it is still the version that was listed.

    Raises
    ------
    FileNotFoundError
        The blob was deleted.
    InputError
        The blob has changed.
    """
    container, _, name = url.removeprefix("az://").partition("/")
    blob = store.service_client.get_blob_client(container, name)
    same = {"etag": version, "match_condition": MatchConditions.IfNotModified} if version else {}
    try:
        stream = await blob.download_blob(max_concurrency=4, **same)
        data = await stream.read() if stream.size <= _CHUNK_BYTES else None
        with open(path, "wb") as file:  # noqa: ASYNC230 - a local disk, in a process that only stages
            if data is not None:
                file.write(data)
            else:
                await stream.readinto(file)
    except ResourceNotFoundError as error:
        raise FileNotFoundError(2, "it was deleted from the store", url) from error
    except ResourceModifiedError as error:
        if not await blob.exists():  # for a missing blob the store reports the failed condition
            raise FileNotFoundError(2, "it was deleted from the store", url) from error
        msg = (
            f"the input {url!r} has changed since the run was planned; its rows would be from "
            "another version. Start a new run."
        )
        raise InputError(msg) from error
