from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parallelrun_jupyter.data.storage.storage import Url, datastore_of, parse_url
from parallelrun_jupyter.errors import InputError

ENDPOINT = "http://127.0.0.1:10000/{account}"
OF_ACCOUNT = {"account_name": "acct"}
CHINA = {"account_name": "acct", "blob_endpoint": "https://acct.blob.core.chinacloudapi.cn"}


@pytest.mark.parametrize(
    ("text", "url", "options"),
    [
        ("az://c/a/b.csv", "az://c/a/b.csv", {}),
        ("abfs://c/a/*.csv", "az://c/a/*.csv", {}),
        ("az://c", "az://c", {}),
        ("az://c/", "az://c", {}),
        ("az://c/a#b?c%20d.csv", "az://c/a#b?c%20d.csv", {}),
        ("AZ://c/a", "az://c/a", {}),
        ("az://c@acct.blob.core.windows.net/a", "az://c/a", OF_ACCOUNT),
        ("abfss://c@acct.dfs.core.windows.net/a/b", "az://c/a/b", OF_ACCOUNT),
        ("wasbs://c@acct.blob.core.windows.net/a/b", "az://c/a/b", OF_ACCOUNT),
        ("https://acct.blob.core.windows.net/c/a/b.csv", "az://c/a/b.csv", OF_ACCOUNT),
        ("https://acct.dfs.core.windows.net/c/a%20b", "az://c/a b", OF_ACCOUNT),
        ("https://acct.z12.blob.storage.azure.net/c/a", "az://c/a",
         {"account_name": "acct", "blob_endpoint": "https://acct.z12.blob.storage.azure.net"}),
        ("https://acct.blob.core.windows.net/c/a?sv=1&sig=x%3D", "az://c/a",
         {**OF_ACCOUNT, "sas_token": "sv=1&sig=x%3D"}),
        ("https://acct.blob.core.chinacloudapi.cn/c/a", "az://c/a", CHINA),
        ("abfss://c@acct.dfs.core.chinacloudapi.cn/a", "az://c/a", CHINA),
        ("http://127.0.0.1:10000/acct/c/a", "az://c/a", OF_ACCOUNT),
        ("http://127.0.0.1:10001/acct/c/a", "http://127.0.0.1:10001/acct/c/a", {}),
        ("https://host/a.csv?version=3", "https://host/a.csv?version=3", {}),
        ("s3://bucket/a/*.csv", "s3://bucket/a/*.csv", {}),
    ],
)  # fmt: skip
def test_all_forms_are_normalized(text: str, url: str, options: dict[str, str]) -> None:
    parsed = parse_url(text, ENDPOINT)
    assert parsed == Url(url.partition("://")[0], url, options)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "memory://a/b",
            "is in the memory of this process, and the processes of a run cannot read",
        ),
        ("az:///a", r"does not name a container; expected az://CONTAINER/PATH\."),
        ("az://c@host.example/a", "names the host 'host.example'; expected ACCOUNT.blob.core"),
        ("zip://a.csv::az://c/a.zip", "is a chain of URLs"),
        ("https://u:pw@host/a", "the URL of host contains a user and a password"),
        ("https://b.s3.amazonaws.com/a?X-Amz-Signature=1", "looks like a credential, which would"),
        ("https://acct.blob.core.windows.net/c/a?snapshot=1", "not a shared access signature"),
    ],
)
def test_unsupported_urls_are_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        parse_url(text, ENDPOINT)
    assert "pw" not in str(caught.value).replace("'password'", "")
    assert "Signature=1" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("azureml://datastores/blobs/paths/a/b.csv", ("blobs", "a/b.csv")),
        ("azureml://subscriptions/1/resourcegroups/g/workspaces/w/datastores/blobs/paths/a/",
         ("blobs", "a/")),
        ("azureml://datastores/blobs", ("blobs", "")),
        ("az://datastores/blobs/paths/a", None),
    ],
)  # fmt: skip
def test_datastores_are_named_by_url(text: str, named: tuple[str, str] | None) -> None:
    assert datastore_of(text) == named


def test_other_assets_are_refused() -> None:
    with pytest.raises(
        InputError, match="does not name a datastore; expected azureml://datastores/NAME"
    ):
        datastore_of("azureml://registries/r/data/d/versions/1")


@given(st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), min_size=1))
def test_the_path_in_a_container_is_never_changed(name: str) -> None:
    if "::" in name or name.startswith("/"):
        return
    assert parse_url(f"az://container/{name}").url == f"az://container/{name}"
