"""Scores the files of a mini-batch with an MLflow model, as Azure does for one without a script.

This is the entry script of such deployments: its text is copied into the run. A worker may have
another Python, so it uses the standard library, and imports mlflow and pandas when it starts.

Each file is one call of ``predict``: a table as a DataFrame with the types of the model's signature,
an image as an array. The rows are CSV without a header: ``row`` (of tables), ``prediction``,
``file_name``.
"""

from __future__ import annotations

import json
import os

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any

TABLES = (".csv", ".parquet", ".pqt")
IMAGES = (".png", ".jpg", ".jpeg", ".tiff", ".bmp", ".gif")
_DTYPES = {
    "boolean": "bool",
    "integer": "int32",
    "long": "int64",
    "float": "float32",
    "double": "float64",
    "string": "object",
    "binary": "object",
}


class Loaded:
    """The model of this worker, and the inputs in its signature; None without one."""

    model = None  # type: Any
    schema = None  # type: Any


def init() -> None:
    """Load the model in ``AZUREML_MODEL_DIR``."""
    import mlflow.pyfunc  # type: ignore[import-not-found] # where the worker has it

    Loaded.model = mlflow.pyfunc.load_model(model_folder(os.environ["AZUREML_MODEL_DIR"]))
    Loaded.schema = Loaded.model.metadata.get_input_schema()


def model_folder(folder: str) -> str:
    """Return the folder with the ``MLmodel`` file: this one, or one in it."""
    names = ["", *sorted(os.listdir(folder))]
    for name in names:
        if os.path.isfile(os.path.join(folder, name, "MLmodel")):
            return os.path.join(folder, name)
    raise FileNotFoundError("there is no file MLmodel in %s" % folder)


def run(mini_batch: list[str]) -> list[str]:
    """Return the rows of some files."""
    rows = []
    for path in mini_batch:
        rows += rows_of(str(path))
    return rows


def rows_of(path: str) -> list[str]:
    """Return the rows of one file."""
    suffix = os.path.splitext(path)[1].lower()
    name = os.path.basename(path)
    if suffix in IMAGES:
        return [line([prediction_of_image(Loaded.model.predict(image(path))), name])]
    if suffix not in TABLES:
        raise ValueError(
            "file %r is of type %r, which a model without a script cannot read; expected one of %s"
            % (name, suffix, ", ".join(TABLES + IMAGES))
        )
    frame = table(path, suffix)
    predictions = as_list(Loaded.model.predict(frame)) if len(frame) else []
    if len(predictions) != len(frame):
        raise ValueError(
            "the model returned %d predictions for the %d rows of %r; expected one for each row"
            % (len(predictions), len(frame), name)
        )
    return [line([number, value, name]) for number, value in enumerate(predictions)]


def table(path: str, suffix: str) -> Any:
    """Return a table with the types of the model's signature."""
    import pandas as pd

    types = column_types()
    dates = [name for name, kind in types.items() if kind == "datetime"]
    dtypes = {name: _DTYPES[kind] for name, kind in types.items() if kind in _DTYPES}
    if suffix == ".csv":
        names = set(pd.read_csv(path, nrows=0).columns)
        frame = pd.read_csv(
            path,
            dtype={name: dtype for name, dtype in dtypes.items() if name in names},
            parse_dates=[name for name in dates if name in names],
        )
    else:
        frame = pd.read_parquet(path)
        frame = frame.astype({n: dtype for n, dtype in dtypes.items() if n in frame.columns})
        for name in frame.columns.intersection(dates):
            frame[name] = pd.to_datetime(frame[name])
    if Loaded.schema is not None and Loaded.schema.is_tensor_spec():
        return tensor(frame.to_numpy())
    return frame


def column_types() -> dict[str, str]:
    """Return the types of the columns in the signature, by name; empty without names."""
    schema = Loaded.schema
    if schema is None or schema.is_tensor_spec() or not schema.has_input_names():
        return {}
    return {column["name"]: column["type"] for column in schema.to_dict()}


def image(path: str) -> Any:
    """Return an image as an array, of the shape and type in the signature."""
    import numpy as np
    from PIL import Image

    with Image.open(path) as opened:
        return tensor(np.asarray(opened))


def tensor(array: Any) -> Any:
    """Return an array with the shape and type of the signature's tensor."""
    schema = Loaded.schema
    if schema is None or not schema.is_tensor_spec() or len(schema.inputs) != 1:
        return array
    spec = schema.inputs[0]
    shape = tuple(spec.shape)
    array = array.astype(spec.type)
    if array.ndim + 1 == len(shape):
        return array[None]  # a batch of one
    return array.reshape(shape) if shape.count(-1) <= 1 else array


def as_list(result: Any) -> list[Any]:
    """Return the predictions of a table, one for each row."""
    if hasattr(result, "to_dict") and hasattr(result, "columns"):
        if len(result.columns) == 1:
            return list(result.iloc[:, 0].tolist())
        return list(result.to_dict("records"))
    return list(result.tolist() if hasattr(result, "tolist") else result)


def prediction_of_image(result: Any) -> Any:
    """Return the prediction of an image, without the dimension of a batch of one."""
    if isinstance(result, dict) or not hasattr(result, "__len__"):
        return result
    values = as_list(result)
    return values[0] if len(values) == 1 else values


def line(values: list[Any]) -> str:
    """Return values as a line of CSV; lists and records are JSON."""
    import csv
    import io

    buffer = io.StringIO()
    texts = [
        json.dumps(value, default=plain) if isinstance(value, (list, dict)) else value
        for value in values
    ]
    csv.writer(buffer, lineterminator="").writerow(texts)
    return buffer.getvalue()


def plain(value: Any) -> Any:
    """Return a value of numpy as one of Python."""
    return value.tolist() if hasattr(value, "tolist") else str(value)
