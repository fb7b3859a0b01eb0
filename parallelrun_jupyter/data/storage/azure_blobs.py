"""Azure's blobs: adlfs over a client with our endpoint, credentials and patience.

adlfs takes no endpoint over plain http, and its client waits 15 seconds before it tries again; so
the client is made here, and given to it.
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
from .urls import DEFAULT_ENDPOINT

_CONNECT_S = 20
_READ_S = 60
"""A store that sends nothing for so long has stalled."""

_CHUNK_BYTES = 4 << 20
_OURS = {
    "account_name", "account_key", "connection_string", "sas_token", "client_id",
    "client_secret", "tenant_id", "anon", "blob_endpoint", "account_host",
    "connection_timeout", "read_timeout", "retry_total", "retry_connect",
}  # fmt: skip


def open_blobs(made: Any, options: Mapping[str, Any], title: str, how: Mapping[str, Any]) -> Any:
    """Return adlfs's file system over a client of ours.

    Parameters
    ----------
    made
        adlfs's class.
    options
        As ``storage_options``, credentials included, and ``blob_endpoint``.
    title
        What to call the store in a message.
    how
        fsspec's own arguments.

    Raises
    ------
    ConfigError
        The credentials do not fit each other or the endpoint.
    """
    others = {k: v for k, v in options.items() if k not in _OURS}
    known = _OURS.union(inspect.signature(made.__init__).parameters) - {"self", "kwargs"}
    for name in others:
        if name not in known:  # adlfs takes anything, and says nothing
            msg = (
                f"storage_options holds {name!r}, which {title} does not know."
                f"{nearest_hint(name, known)} It knows {', '.join(sorted(known))}."
            )
            raise ConfigError(msg)
    client, credential = _client(options, title)
    # anon keeps it from looking for an identity of its own.
    store = made(
        account_name=options.get("account_name") or "unnamed", anon=True,
        use_listings_cache=False, skip_instance_cache=True, **others, **how,
    )  # fmt: skip
    store.service_client = client
    store.credential = credential
    return store


def _client(options: Mapping[str, Any], title: str) -> tuple[Any, Any]:
    """Return the service's client, and the credential that has to be closed with it, if any."""
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
            made = BlobServiceClient.from_connection_string(options["connection_string"], **tuning)
            return made, None
        account = options["account_name"]
        host = options.get("account_host")
        template = options.get("blob_endpoint") or (f"https://{host}" if host else DEFAULT_ENDPOINT)
        url = template.replace("{account}", account)
        credential, closed = _credential(options, url, title)
        return BlobServiceClient(url, credential=credential, **tuning), closed
    except ConfigError:
        raise
    except ValueError as error:
        msg = f"{title} could not be opened: {str(error).rstrip('.')}. Check its key, token or connection string."
        raise ConfigError(msg) from error


def _credential(options: Mapping[str, Any], url: str, title: str) -> tuple[Any, Any]:
    if options.get("account_key"):
        named = {"account_name": options["account_name"], "account_key": options["account_key"]}
        return named, None
    if options.get("sas_token"):
        return AzureSasCredential(options["sas_token"].lstrip("?")), None
    if options.get("anon"):
        return None, None
    if not url.startswith("https://"):
        msg = (
            f"{title} is at {url}, and an identity's token goes over https only. Give a key, a "
            "SAS token or anon=True, or an https endpoint."
        )
        raise ConfigError(msg)
    from azure.identity.aio import ClientSecretCredential, DefaultAzureCredential

    who: Any = (
        ClientSecretCredential(options["tenant_id"], options["client_id"], options["client_secret"])
        if options.get("client_secret")
        else DefaultAzureCredential()
    )
    return who, who


async def download(store: Any, url: str, path: str, version: int | str) -> None:
    """Write a blob to a local file, if it still is the version that was listed.

    Raises
    ------
    FileNotFoundError
        It is gone.
    InputError
        It has changed.
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
        raise FileNotFoundError(2, "it is gone from the store", url) from error
    except ResourceModifiedError as error:
        if not await blob.exists():  # a condition that nothing meets comes before "not found"
            raise FileNotFoundError(2, "it is gone from the store", url) from error
        msg = (
            f"the input {url!r} has changed since the run was planned, so that its rows would be "
            "of another version. Start a new run."
        )
        raise InputError(msg) from error
