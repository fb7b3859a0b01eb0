from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from parallelrun_jupyter import Datastore, EnvironmentVariable, FileDataset, Keyring
from parallelrun_jupyter.data import credentials
from parallelrun_jupyter.data.credentials import Held, hold, look_up, variables_for_driver
from parallelrun_jupyter.data.datastores import place_of
from parallelrun_jupyter.data.storage import Storage, make_storage
from parallelrun_jupyter.errors import ConfigError, InputError, MissingExtraError


def storage(environ: dict[str, str] | None = None, **options: Any) -> Storage:
    return make_storage("az", {}, options, label="x", environ=environ or {})


def test_a_credential_goes_by_reference_and_the_rest_as_it_is() -> None:
    made = storage(account_name="acct", account_key="SECRET", max_concurrency=4)
    assert made.options == {"account_name": "acct", "max_concurrency": 4}
    assert made.secrets == {"account_key": Held("PARALLELRUN_X_ACCOUNT_KEY")}
    assert "SECRET" not in json.dumps(made.spec())
    assert Storage.of_spec(json.loads(json.dumps(made.spec()))) == made
    assert variables_for_driver(made.references(), {}) == {"PARALLELRUN_X_ACCOUNT_KEY": "SECRET"}


def test_nested_credentials_are_seen() -> None:
    made = make_storage(
        "https", {}, {"client_kwargs": {"headers": {"Authorization": "SECRET"}}}, label="web"
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


def test_an_account_has_to_be_known() -> None:
    with pytest.raises(ConfigError, match="the storage account of the container is not known"):
        storage()
    string = "DefaultEndpointsProtocol=https;AccountName=acct;AccountKey=SECRET=="
    made = storage(connection_string=string)
    assert made.options == {"account_name": "acct"}


def test_identities_are_recognised_and_other_objects_refused() -> None:
    class DefaultAzureCredential:
        pass

    assert storage(account_name="a", credential="identity").options["anon"] is False
    assert storage(account_name="a", credential=DefaultAzureCredential()).options["anon"] is False
    with pytest.raises(ConfigError, match="credential is a object, which cannot be handed to"):
        storage(account_name="a", credential=object())
    with pytest.raises(ConfigError, match="storage_options holds something that cannot be written"):
        storage(account_name="a", loop=object())


def test_a_missing_credential_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
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
    keyring.set_keyring(InMemory())
    try:
        made = storage(account_name="acct", account_key=Keyring("blobs", "acct"))
        assert made.spec()["secrets"] == {"account_key": {"keyring": ["blobs", "acct"]}}
        assert Storage.of_spec(made.spec()) == made
        assert look_up(made.secrets["account_key"], "it", {}) == "SECRET"
        with pytest.raises(ConfigError, match="keyring set blobs other"):
            look_up(Keyring("blobs", "other"), "it", {})
    finally:
        keyring.set_keyring(before)
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(MissingExtraError, match="pip install keyring"):
        look_up(Keyring("blobs", "acct"), "it", {})


def test_missing_packages_and_unknown_protocols_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"no store is known by azz://\. Did you mean 'az'\?"):
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


def test_datastores_are_kept_without_their_secrets(home: Path) -> None:
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


def test_a_registered_container_lends_its_credential() -> None:
    store = Datastore.register_azure_blob_container("mine", "data", "acct", account_key="SECRET")
    for path in (
        store.path("a/*.csv"), (store, "a/*.csv"), "az://data/a/*.csv",
        "https://acct.blob.core.windows.net/data/a/*.csv",
        "azureml://datastores/mine/paths/a/*.csv",
    ):  # fmt: skip
        place = place_of(path)
        assert place.path == "az://data/a/*.csv"
        assert place.storage == store.storage
    with pytest.raises(ConfigError, match="account of the container is not known"):
        place_of("az://elsewhere/a")
    signed = place_of("https://acct.blob.core.windows.net/data/a?sv=1&sig=x")
    assert signed.storage is not None
    assert signed.storage.secrets.keys() == {"sas_token"}


def test_a_dataset_is_of_one_store(home: Path) -> None:
    store = Datastore.register_azure_blob_container("mine", "data", "acct")
    assert FileDataset([store.path("a"), store.path("b")]).paths == ("az://data/a", "az://data/b")
    dataset = FileDataset((store, "a"))
    assert FileDataset.of_spec(dataset.spec()).spec() == dataset.spec()
    with pytest.raises(InputError, match="of several stores, or some are local; expected one"):
        FileDataset([store.path("a"), str(home)])
