from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parallelrun_jupyter import Datastore, EnvironmentVariable, FileDataset, Keyring
from parallelrun_jupyter.data.storage import credentials
from parallelrun_jupyter.data.storage.credentials import Held, hold, look_up, variables_for_driver
from parallelrun_jupyter.data.storage.datastores import place_of
from parallelrun_jupyter.data.storage.storage import StorageSpec, make_storage
from parallelrun_jupyter.errors import ConfigError, InputError, MissingExtraError


@pytest.fixture(autouse=True)
def _no_credentials_of_other_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start each test like a new process: credentials are held in the memory of one process."""
    monkeypatch.setattr(credentials, "_held", {})
    monkeypatch.setattr(credentials, "_owners", {})


def storage(environ: dict[str, str] | None = None, **options: Any) -> StorageSpec:
    return make_storage("az", options, label="x", environ=environ or {})


def test_credentials_are_stored_by_reference() -> None:
    made = storage(account_name="acct", account_key="SECRET", max_concurrency=4)
    assert made.options == {"account_name": "acct", "max_concurrency": 4}
    assert made.secrets == {"account_key": Held("PARALLELRUN_X_ACCOUNT_KEY")}
    assert "SECRET" not in json.dumps(made.spec())
    assert StorageSpec.of_spec(json.loads(json.dumps(made.spec()))) == made
    assert variables_for_driver(made.references(), {}) == {"PARALLELRUN_X_ACCOUNT_KEY": "SECRET"}


def test_nested_credentials_are_recognized() -> None:
    made = make_storage(
        "https", {"client_kwargs": {"headers": {"Authorization": "SECRET"}}}, label="web"
    )
    assert "SECRET" not in json.dumps(made.spec())
    [(_, reference)] = made.references()
    assert look_up(reference, "x", {}) == {"headers": {"Authorization": "SECRET"}}


def test_azures_variables_are_referred_to_by_name() -> None:
    environ = {"AZURE_STORAGE_ACCOUNT_NAME": "acct", "AZURE_STORAGE_ACCOUNT_KEY": "SECRET"}
    made = storage(environ)
    assert made.options == {"account_name": "acct"}
    assert made.secrets == {"account_key": EnvironmentVariable("AZURE_STORAGE_ACCOUNT_KEY")}
    assert not storage(environ, account_name="other").secrets, "they are of another account"
    assert not storage(environ, anon=True, account_name="acct").secrets
    assert storage(environ, account_name="acct", sas_token="t").secrets.keys() == {"sas_token"}


def test_an_account_is_required() -> None:
    with pytest.raises(ConfigError, match="the storage account of the container is unknown"):
        storage()
    string = "DefaultEndpointsProtocol=https;AccountName=acct;AccountKey=SECRET=="
    made = storage(connection_string=string)
    assert made.options == {"account_name": "acct"}


def test_identities_are_recognized_and_other_objects_refused() -> None:
    class DefaultAzureCredential:
        pass

    assert storage(account_name="a", credential="identity").options["anon"] is False
    assert storage(account_name="a", credential=DefaultAzureCredential()).options["anon"] is False
    with pytest.raises(ConfigError, match="credential is a object, which cannot be handed to"):
        storage(account_name="a", credential=object())
    with pytest.raises(ConfigError, match="storage_options holds a value that cannot be stored"):
        storage(account_name="a", loop=object())


def test_the_error_names_a_missing_credential(monkeypatch: pytest.MonkeyPatch) -> None:
    reference = hold("store", "sas_token", "SECRET")
    assert look_up(reference, "it", {}) == "SECRET"
    monkeypatch.setattr(credentials, "_held", {})  # another process
    with pytest.raises(ConfigError) as caught:
        look_up(reference, "the storage account 'a'", {})
    assert str(caught.value) == (
        "the credential of the storage account 'a' is in the environment variable "
        "PARALLELRUN_STORE_SAS_TOKEN, whose value is not kept on disk. Set it first: "
        "os.environ['PARALLELRUN_STORE_SAS_TOKEN'] = ..."
    )
    assert look_up(reference, "it", {"PARALLELRUN_STORE_SAS_TOKEN": "again"}) == "again"
    with pytest.raises(ConfigError, match="in the environment variable NOPE, which is not set"):
        variables_for_driver([("it", EnvironmentVariable("NOPE"))], {})


def test_the_keyring_is_read_where_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    import keyring
    from keyring.backend import KeyringBackend

    class InMemory(KeyringBackend):
        priority = 1
        known = {("blobs", "acct"): "SECRET"}  # noqa: RUF012 - one backend of one test

        def get_password(self, service: str, username: str) -> str | None:
            return self.known.get((service, username))

        def set_password(self, service: str, username: str, password: str) -> None:
            raise NotImplementedError

        def delete_password(self, service: str, username: str) -> None:
            raise NotImplementedError

    before = keyring.get_keyring()
    keyring.set_keyring(InMemory())  # type: ignore[no-untyped-call]
    try:
        made = storage(account_name="acct", account_key=Keyring("blobs", "acct"))
        assert made.spec()["secrets"] == {"account_key": {"keyring": ["blobs", "acct"]}}
        assert StorageSpec.of_spec(made.spec()) == made
        assert look_up(made.secrets["account_key"], "it", {}) == "SECRET"
        with pytest.raises(ConfigError, match="keyring set blobs other"):
            look_up(Keyring("blobs", "other"), "it", {})
    finally:
        keyring.set_keyring(before)
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(MissingExtraError, match="pip install keyring"):
        look_up(Keyring("blobs", "acct"), "it", {})


def test_missing_packages_and_unknown_protocols_are_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(InputError, match=r"unknown protocol azz://\. Did you mean 'az'\?"):
        FileDataset("azz://c/a").check()
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(MissingExtraError, match=r"s3:// needs a package .*: Install s3fs"):
        FileDataset("s3://bucket/a").check()
    monkeypatch.setitem(sys.modules, "adlfs", None)
    registry = importlib.import_module("fsspec.registry")
    monkeypatch.delitem(registry._registry, "az", raising=False)
    with pytest.raises(MissingExtraError) as caught:
        FileDataset("az://c/a", storage_options={"account_name": "a", "anon": True}).check()
    assert str(caught.value) == (
        "az:// needs a package that is not installed: pip install 'parallelrun-jupyter[azure]'"
    )


def test_datastores_are_stored_without_secrets(home: Path) -> None:
    store = Datastore.register_azure_blob_container("mine", "data", "acct", account_key="SECRET")
    Datastore.register_azure_blob_container("open", "public", "acct")
    Datastore.register_local("here", home)
    text = (home / "datastores.json").read_text()
    assert "SECRET" not in text
    assert [known.name for known in Datastore.list()] == ["here", "mine", "open"]
    found = Datastore.get("mine")
    assert (found.url, found.storage) == (store.url, store.storage)
    assert found.storage is not None
    assert found.storage.secrets == {"account_key": Held("PARALLELRUN_MINE_ACCOUNT_KEY")}
    public = Datastore.get("open").storage
    assert public is not None
    assert public.options["anon"] is True
    assert Datastore.get("here").path("a/*.csv").place().path == f"{home}/a/*.csv"
    assert repr(store) == "Datastore('mine': az://data of acct)"
    with pytest.raises(ConfigError, match=r"no datastore 'mien'\. Did you mean 'mine'\?"):
        Datastore.get("mien")
    with pytest.raises(ConfigError, match="there is a datastore 'mine' already"):
        Datastore.register_local("mine", home, overwrite=False)
    with pytest.raises(ConfigError, match="account_key and sas_token are given for datastore"):
        Datastore.register_azure_blob_container("x", "c", "a", account_key="k", sas_token="t")
    found.unregister()
    assert [known.name for known in Datastore.list()] == ["here", "open"]


def test_urls_use_the_credential_of_a_registered_container() -> None:
    store = Datastore.register_azure_blob_container("mine", "data", "acct", account_key="SECRET")
    for path in (
        store.path("a/*.csv"), (store, "a/*.csv"), "az://data/a/*.csv",
        "https://acct.blob.core.windows.net/data/a/*.csv",
        "azureml://datastores/mine/paths/a/*.csv",
    ):  # fmt: skip
        place = place_of(path)
        assert place.path == "az://data/a/*.csv"
        assert place.storage == store.storage
    with pytest.raises(ConfigError, match="account of the container is unknown"):
        place_of("az://elsewhere/a")
    signed = place_of("https://acct.blob.core.windows.net/data/a?sv=1&sig=x")
    assert signed.storage is not None
    assert signed.storage.secrets.keys() == {"sas_token"}


def opened_with(where: Any) -> dict[str, str]:
    """Return the value of each credential with which a driver would open a place."""
    found = where.storage if hasattr(where, "storage") else where
    handed = variables_for_driver(found.references(), {})
    return {name: handed[reference.name] for name, reference in found.secrets.items()}


def test_equal_containers_of_two_accounts_keep_their_own_keys() -> None:
    first = FileDataset("az://data/a", storage_options={"account_name": "aaa", "account_key": "A"})
    second = FileDataset("az://data/a", storage_options={"account_name": "bbb", "account_key": "B"})
    assert opened_with(first) == {"account_key": "A"}
    assert opened_with(second) == {"account_key": "B"}


def test_equal_buckets_behind_two_endpoints_keep_their_own_keys() -> None:
    def bucket(endpoint: str, secret: str) -> StorageSpec:
        options = {"endpoint_url": endpoint, "secret": secret}
        place = place_of("s3://data/a", options)
        assert place.storage is not None
        return place.storage

    first, second = bucket("http://one", "A"), bucket("http://two", "B")
    assert (opened_with(first), opened_with(second)) == ({"secret": "A"}, {"secret": "B"})


def test_tokens_of_two_folders_of_a_container_are_kept_apart() -> None:
    url = "https://acct.blob.core.windows.net/data/{}?sv=1&sig={}"
    read, write = place_of(url.format("in", "R")), place_of(url.format("out", "W"))
    again = place_of(url.format("in/b", "R"))
    assert opened_with(read) == {"sas_token": "sv=1&sig=R"}
    assert opened_with(write) == {"sas_token": "sv=1&sig=W"}
    assert again.storage == read.storage, "one token for two paths is one store"
    place_of(url.format("out", "NEWER"))
    assert opened_with(write) == {"sas_token": "sv=1&sig=NEWER"}, "a token is renewed for its URL"
    assert opened_with(read) == {"sas_token": "sv=1&sig=R"}


NAMES = st.text("abAB_-ß1", min_size=1, max_size=5).filter(lambda name: name.strip("_-"))


@given(st.lists(st.tuples(NAMES, st.sampled_from(["aa1", "bb2"])), min_size=1, max_size=6))
def test_no_datastore_is_opened_with_the_key_of_another(registered: list[tuple[str, str]]) -> None:
    stores = {}
    for number, (name, account) in enumerate(registered):
        store = Datastore.register_azure_blob_container(
            name, "data", account, account_key=f"key {number} of {name} in {account}"
        )
        stores[name, account] = store, number
    for (name, account), (store, number) in stores.items():
        assert opened_with(store) == {"account_key": f"key {number} of {name} in {account}"}


def test_similar_names_have_different_variables(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(credentials, "_held", {})  # other tests register the same names
    monkeypatch.setattr(credentials, "_owners", {})
    first = Datastore.register_azure_blob_container("a-b", "data", "acct", account_key="1")
    second = Datastore.register_azure_blob_container("A_b", "data", "acct", account_key="2")
    plain = Datastore.register_azure_blob_container("a_b", "data", "acct", account_key="3")
    names = [
        reference.name
        for s in (first, second, plain)
        if s.storage is not None
        for _, reference in s.storage.references()
        if isinstance(reference, Held)
    ]
    assert len(names) == 3
    assert len(set(names)) == 3
    assert names[2] == "PARALLELRUN_A_B_ACCOUNT_KEY", "as the pages say"
    assert [opened_with(s)["account_key"] for s in (first, second, plain)] == ["1", "2", "3"]


def test_a_refused_registration_changes_no_key(home: Path) -> None:
    store = Datastore.register_azure_blob_container("mine", "data", "acct", account_key="OLD")
    with pytest.raises(ConfigError, match="there is a datastore 'mine' already"):
        Datastore.register_azure_blob_container(
            "mine", "data", "acct", account_key="NEW", overwrite=False
        )
    assert opened_with(store) == {"account_key": "OLD"}


def test_a_renewed_key_replaces_the_earlier_one() -> None:
    store = Datastore.register_azure_blob_container("mine", "data", "acct", account_key="OLD")
    Datastore.register_azure_blob_container("mine", "data", "acct", account_key="NEW")
    assert opened_with(store) == {"account_key": "NEW"}
    [(title, reference)] = store.storage.references()  # type: ignore[union-attr]
    environ = {reference.name: "STALE"}  # type: ignore[union-attr]
    assert look_up(reference, title, environ) == "NEW", "here as in the driver"


def test_a_container_of_two_accounts_is_not_guessed() -> None:
    for account in ("aaa", "bbb"):
        Datastore.register_azure_blob_container(account, "data", account, account_key=account)
    with pytest.raises(ConfigError, match=r"may be in each of Datastore\('aaa'.*'bbb'.*Write the"):
        FileDataset("az://data/x.csv")
    named = place_of("az://data@bbb.blob.core.windows.net/x.csv")
    assert opened_with(named) == {"account_key": "bbb"}


def test_a_dataset_has_one_store(home: Path) -> None:
    store = Datastore.register_azure_blob_container("mine", "data", "acct")
    assert FileDataset([store.path("a"), store.path("b")]).paths == ("az://data/a", "az://data/b")
    dataset = FileDataset((store, "a"))
    assert FileDataset.of_spec(dataset.spec()).spec() == dataset.spec()
    with pytest.raises(InputError, match="in several stores, or some are local; expected one"):
        FileDataset([store.path("a"), str(home)])
