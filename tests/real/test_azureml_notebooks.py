"""Typical notebooks of Azure's SDK v1 run unmodified."""

from __future__ import annotations

import io
import json
import pickle
import re
import shutil
import tarfile
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from azure.storage.blob import BlobServiceClient, PublicAccess
from PIL import Image

import tests.azureml_notebooks
import tests.digits
from parallelrun_jupyter.commands.kernelspec import install_kernel
from parallelrun_jupyter.environment.build import find_python
from tests.azureml_notebooks import KERNEL, execute, text_of
from tests.azurite_process import ACCOUNT, KEY, Azurite

COUNT = 60
RIGHT_OF_1000 = 972
"""Correct predictions of the tutorial's model for the first 1,000 digits of MNIST as raw bytes."""


@pytest.fixture(autouse=True)
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install the kernel of the notebooks, for this test only."""
    install_kernel(KERNEL, prefix=str(tmp_path / "prefix"))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "prefix" / "share" / "jupyter"))


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """Return a folder below a config.json from Azure's portal."""
    folder = tmp_path / "work"
    folder.mkdir()
    config = {
        "subscription_id": "12345678-abcd-ef00-1234-56789abcdef0",
        "resource_group": "group",
        "workspace_name": "wsname",
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="session")
def digits() -> tuple[Any, Any, dict[str, bytes]]:
    """Return a linear model of digits, its predictions for 60 of them, and their PNG files."""
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression

    pixels, labels = load_digits(return_X_y=True)
    model = LogisticRegression(max_iter=200).fit(pixels[200:800], labels[200:800])
    files = {}
    for number in range(COUNT):
        file = io.BytesIO()
        Image.fromarray(pixels[number].reshape(8, 8).astype(np.uint8)).save(file, "PNG")
        files[f"mnist/{number:04d}.png"] = file.getvalue()
    return model, model.predict(pixels[:COUNT]), files


def fill(azurite: Azurite, name: str, blobs: dict[str, bytes]) -> None:
    """Fill a public container by its name, once for all tests."""
    service = BlobServiceClient.from_connection_string(azurite.connection_string)
    container = service.get_container_client(name)
    if not container.exists():
        container.create_container(public_access=PublicAccess.CONTAINER)
    for blob, data in blobs.items():
        container.upload_blob(blob, data, overwrite=True)


def redirect(url: str, path: Path) -> str:
    """Return a cell that lets urllib fetch a file of this machine in the place of a URL."""
    return (
        "import shutil, urllib.request\n"
        "def _fetch(url, target=None, *_):\n"
        f"    assert url == {url!r}, url\n"
        f"    return shutil.copy({str(path)!r}, target), None\n"
        "urllib.request.urlretrieve = _fetch\n"
    )


@pytest.fixture
def sampledata(azurite: Azurite, endpoint: str, digits: Any) -> None:
    fill(azurite, "sampledata", digits[2])


@pytest.fixture(params=["on this machine", "in a container"])
def default_datastore(request: pytest.FixtureRequest) -> str:
    """Return a cell that sets the default datastore of the workspace."""
    if request.param == "on this machine":
        return "pass"
    request.getfixturevalue("azurite")
    request.getfixturevalue("endpoint")
    return (
        "from azureml.core import Datastore, Workspace\n"
        "workspace = Workspace.from_config()\n"
        "Datastore.register_azure_blob_container(\n"
        f"    workspace, 'own', {uuid.uuid4().hex!r}, {ACCOUNT!r}, account_key={KEY!r},\n"
        "    create_if_not_exists=True)\n"
        "workspace.set_default_datastore('own')\n"
    )


@pytest.mark.usefixtures("sampledata")
def test_file_scoring_with_a_resubmit(work: Path, home: Path, digits: Any) -> None:
    model, expected, _ = digits
    weights = io.BytesIO()
    np.savez(weights, coef=model.coef_, intercept=model.intercept_)
    archive = work.parent / "mnist-tf.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        info = tarfile.TarInfo("weights.npz")
        info.size = len(weights.getvalue())
        tar.addfile(info, io.BytesIO(weights.getvalue()))
    url = "https://pipelinedata.blob.core.windows.net/mnist-model/mnist-tf.tar.gz"
    notebook = execute("file_scoring", work, redirect(url, archive))
    text = text_of(notebook)
    assert "Prediction has  60  rows" in text
    assert "Prediction has  1  rows" in text
    results = sorted(home.rglob("mnist_outputs.txt"), key=lambda p: -p.stat().st_size)
    rows = [line.split(": ") for line in results[0].read_text().splitlines()]
    assert [name for name, _ in rows] == [f"{n:04d}.png" for n in range(COUNT)]
    assert [int(digit) for _, digit in rows] == list(expected)
    assert results[-1].read_text() == f"0003.png: {expected[3]}\n"
    assert "Finished" in text
    assert "numpy" in text  # the pin that differs is reported


def test_a_mini_batch_for_each_combination_of_keys_in_the_folders(
    work: Path, default_datastore: str
) -> None:
    sizes: dict[tuple[str, str], int] = {}
    for user, season, genre, size in (
        ("user1", "winter", "disco", 100), ("user1", "fall", "disco", 20),
        ("user1", "winter", "orchestra", 300), ("user2", "summer", "piano", 4),
        ("user3", "spring", "disco", 50), ("user2", "fall", "disco", 7),
    ):  # fmt: skip
        path = work / "data" / user / season / f"{genre}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(size))
        sizes[user, genre] = sizes.get((user, genre), 0) + size
    text = text_of(execute("partition_per_folder", work, default_datastore))
    assert "['user', 'season', 'genres']" in text
    assert "Prediction has 5 rows" in text
    rows = re.findall(r"^([^,\n]+),(\d+),([\d.]+),(user\d),(\w+)$", text, re.MULTILINE)
    assert {(user, genre): int(size) for _, size, _, user, genre in rows} == sizes
    assert sum("+" in name for name, *_ in rows) == 1


def test_three_steps_wired_by_data(work: Path, default_datastore: str) -> None:
    (work / "style.json").write_text('{"candy": 2, "mosaic": 100}')
    (work / "video.txt").write_text("".join(f"{n}\n" for n in range(7)))
    text = text_of(execute("three_steps", work, default_datastore))
    assert "joined: 0 2 4 6 8 10 12" in text
    assert "metrics: {'frames': 7, 'ends': {'first': 0, 'last': 12}}" in text
    assert "steps: ['split video', 'style-transfer', 'join']" in text
    assert "registered: ['/000.txt'" in text
    assert "reused: [('split video', True), ('style-transfer', False), ('join', False)]" in text
    (again,) = (work / "again").rglob("joined.txt")
    assert again.read_text() == "0 100 200 300 400 500 600"
    assert text.rstrip().endswith("True")


@pytest.fixture(scope="module")
def mnist(tmp_path_factory: pytest.TempPathFactory) -> tests.digits.Digits:
    return tests.digits.write_digits(tmp_path_factory.mktemp("mnist"))


def tar_of(folder: Path, archive: Path) -> Path:
    """Pack the files of a folder, as the tutorial's model is packed."""
    with tarfile.open(archive, "w:gz") as tar:
        for path in sorted(folder.iterdir()):
            tar.add(path, path.name)
    return archive


def run_preview(work: Path, mnist: tests.digits.Digits, files: list[Path], azurite: Azurite) -> Any:
    """Run the tutorial over these digits; return its notebook."""
    fill(azurite, "mnistdata", {f"mnist/{path.name}": path.read_bytes() for path in files})
    archive = tar_of(mnist.model, work.parent / "mnist-tf.tar.gz")
    url = "https://pipelinedata.blob.core.windows.net/mnist-model/mnist-tf.tar.gz"
    return execute("preview_tutorial", work, redirect(url, archive), timeout_s=300)


def predictions(work: Path) -> list[tuple[str, int]]:
    (file,) = (work / "mnist_results").rglob("parallel_run_step.txt")
    rows = (line.split(": ") for line in file.read_text().splitlines())
    return [(name, int(digit)) for name, digit in rows]


@pytest.mark.usefixtures("endpoint")
@pytest.mark.parametrize("tensorflow", ["1.13.1", "installed"])
def test_the_tutorial_of_the_preview(
    work: Path, mnist: tests.digits.Digits, azurite: Azurite, tensorflow: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Runs under TensorFlow 1.13.1 of 2019 if Python 3.7 is found, and under the installed one."""
    if tensorflow == "1.13.1":
        if find_python("3.7") is None or shutil.which("uv") is None:
            return  # the other half of this test runs the same notebook
        monkeypatch.setenv("PARALLELRUN_ENVIRONMENT", "build")
    else:
        # TensorFlow 2 has the names of 1 below compat.v1: two lines that have changed since.
        changed = {
            "import tensorflow as tf": "import tensorflow.compat.v1 as tf\n\ntf.disable_eager_execution()"
        }
        monkeypatch.setattr(tests.azureml_notebooks, "SUBSTITUTES", changed)
    files = sorted(mnist.folder.iterdir())[:1000]
    notebook = run_preview(work, mnist, files, azurite)
    text = text_of(notebook)
    assert "Prediction has  1000  rows" in text
    rows = predictions(work)
    assert [name for name, _ in rows] == [path.name for path in files]
    right = sum(digit == label for (_, digit), label in zip(rows, mnist.labels, strict=False))
    assert right == RIGHT_OF_1000 if tests.digits.MNIST.is_dir() else right > 900
    (shown,) = [cell for cell in notebook.cells if "RunDetails(" in cell.source]
    pages = [out.data.get("text/html", "") for out in shown.outputs if "data" in out]
    assert any("predict-digits-mnist" in page and "Finished" in page for page in pages)
    assert any("1,000 of 1,000" in page for page in pages)


@pytest.mark.usefixtures("endpoint")
def test_rows_by_a_pickled_model(work: Path, azurite: Azurite) -> None:
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression

    frame = load_iris(as_frame=True).data
    model = LogisticRegression(max_iter=500).fit(
        frame.to_numpy(), load_iris().target_names[load_iris().target]
    )
    fill(azurite, "irissample", {
        "iris/a.csv": frame[:90].to_csv(index=False).encode(),
        "iris/b.csv": frame[90:].to_csv(index=False).encode(),
    })  # fmt: skip
    fill(azurite, "iris-model", {"iris_model.pkl": pickle.dumps(model)})
    text = text_of(execute("tabular_scoring", work))
    assert "Prediction has  150  rows" in text
    assert re.search(r"azureml-models/iris-prs/1/iris_model\.pkl$", text, re.MULTILINE)
    found = pd.read_csv(work / "predictions.csv")
    assert np.allclose(found.iloc[:, :4], frame)
    assert list(found["variety"]) == list(model.predict(frame.to_numpy()))


def test_a_mini_batch_for_each_combination_of_two_columns(
    work: Path, default_datastore: str
) -> None:
    rng = np.random.default_rng(7)
    rows = 600
    frame = pd.DataFrame(
        {
            "WeekStarting": [f"1990-06-{1 + n % 28:02d}" for n in range(rows)],
            "Store": rng.integers(2, 7, rows),
            "Brand": rng.choice(["dominicks", "minute.maid", "tropicana"], rows),
            "Quantity": rng.integers(64, 9_999, rows),
            "logQuantity": rng.random(rows).round(6),
            "Price": rng.random(rows).round(2),
            "Revenue": rng.integers(1, 999, rows),
        }
    )
    frame.to_csv(work / "dominicks_OJ.csv", index=False)
    text = text_of(execute("partition_per_column", work, default_datastore))
    assert "['Store', 'Brand']" in text
    assert "15 combinations ['partitioned_oj_data']" in text
    found = pd.read_csv(work / "revenue.csv")
    assert len(found) == rows
    expected = frame.groupby(["Store", "Brand"])["Revenue"].sum()
    for (store, brand), group in found.groupby(["Store", "Brand"]):
        assert set(group["total_income"]) == {expected[store, brand]}
    assert found["Quantity"].sum() == frame["Quantity"].sum()
