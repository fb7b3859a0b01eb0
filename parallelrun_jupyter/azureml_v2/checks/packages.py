"""Checks that a conda file brings the modules that a script imports; only sure cases are reported."""

from __future__ import annotations

import ast
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import yaml

_TOOLS = "pip setuptools wheel python ipykernel ipython notebook cudatoolkit cudnn"
_SMALL = "requests urllib3 certifi idna charset_normalizer"
_NUMBERS = "numpy"
_TABLES = f"pandas {_NUMBERS} dateutil pytz tzdata six"
_PLOTS = f"matplotlib mpl_toolkits pylab {_NUMBERS} PIL dateutil six packaging pyparsing cycler kiwisolver contourpy fontTools"
_LEARN = f"sklearn {_NUMBERS} scipy joblib threadpoolctl"
_HUB = f"huggingface_hub tokenizers safetensors filelock fsspec regex tqdm yaml packaging typing_extensions {_NUMBERS} {_SMALL}"
_TORCH = f"torch torchgen functorch {_NUMBERS} sympy mpmath networkx jinja2 markupsafe filelock fsspec typing_extensions triton nvidia"
_KERAS = f"keras {_NUMBERS} h5py rich optree ml_dtypes namex absl packaging"
_FLOW = (
    f"tensorflow tensorboard tensorflow_estimator {_KERAS} {_SMALL} google six wrapt termcolor astunparse "
    "flatbuffers gast opt_einsum grpc typing_extensions werkzeug markdown keras_preprocessing scipy"
)
_MLFLOW = f"mlflow yaml {_TABLES} {_LEARN} {_PLOTS} {_SMALL}"
BRINGS: Mapping[str, str] = {
    **dict.fromkeys(_TOOLS.split(), "pip setuptools pkg_resources wheel IPython ipykernel"),
    "numpy": _NUMBERS,
    "pandas": _TABLES,
    "scipy": f"scipy {_NUMBERS}",
    "scikit-learn": _LEARN,
    "scikit-image": f"skimage scipy networkx PIL imageio tifffile lazy_loader packaging {_NUMBERS}",
    "pillow": "PIL",
    "matplotlib": _PLOTS,
    "seaborn": f"seaborn {_PLOTS} {_TABLES} scipy",
    "opencv-python": f"cv2 {_NUMBERS}",
    "opencv-python-headless": f"cv2 {_NUMBERS}",
    "pyyaml": "yaml",
    "requests": _SMALL,
    "joblib": "joblib",
    "tqdm": "tqdm",
    "six": "six",
    "python-dateutil": "dateutil six",
    "pytz": "pytz",
    "pyarrow": f"pyarrow {_NUMBERS}",
    "fastparquet": f"fastparquet {_TABLES} cramjam fsspec packaging",
    "openpyxl": "openpyxl et_xmlfile",
    "lightgbm": f"lightgbm {_NUMBERS} scipy {_LEARN}",
    "xgboost": f"xgboost {_NUMBERS} scipy nvidia",
    "catboost": f"catboost {_TABLES} scipy plotly graphviz {_PLOTS}",
    "statsmodels": f"statsmodels {_TABLES} scipy patsy packaging",
    "tensorflow": _FLOW,
    "tensorflow-cpu": _FLOW,
    "tensorflow-gpu": _FLOW,
    "keras": _KERAS,
    "torch": _TORCH,
    "pytorch": _TORCH,
    "torchvision": f"torchvision PIL {_TORCH}",
    "transformers": f"transformers {_HUB}",
    "beautifulsoup4": "bs4 soupsieve typing_extensions",
    "python-dotenv": "dotenv",
    "protobuf": "google",
    "mlflow": f"{_MLFLOW} flask alembic sqlalchemy jinja2 docker git click cloudpickle google pyarrow "
    "packaging markdown graphene gunicorn sqlparse",
    "cloudpickle": "cloudpickle",
}
"""The modules that a package brings, with those of the packages that it requires."""

_AZURE = frozenset(["azureml-core", "azureml-defaults", "azureml-dataset-runtime", "azureml-fsspec", "azureml-mlflow", "mltable", "azure-identity", "azure-ai-ml"])  # fmt: skip
_NOT_IN_AZURE = frozenset(["cv2", "PIL", "sklearn", "tensorflow", "torch", "torchvision", "keras", "xgboost", "lightgbm", "catboost", "transformers", "skimage", "seaborn", "statsmodels"])  # fmt: skip
"""Modules that none of the packages of `_AZURE` brings; what else they bring is not known."""

_PACKAGES = {
    "PIL": "pillow", "sklearn": "scikit-learn", "cv2": "opencv-python-headless", "yaml": "pyyaml",
    "skimage": "scikit-image", "dateutil": "python-dateutil", "bs4": "beautifulsoup4",
    "dotenv": "python-dotenv", "google": "protobuf", "fitz": "pymupdf", "docx": "python-docx",
    "Crypto": "pycryptodome", "attr": "attrs", "serial": "pyserial", "jwt": "pyjwt",
}  # fmt: skip
"""The package of a module, if its name is another."""

_ALWAYS_THERE = frozenset({"azureml_user", "parallelrun_jupyter"})
_NAME = re.compile(r"(?:[\w.-]+::)?([A-Za-z0-9][\w.-]*)\s*(?:\[[^\]]*\])?\s*(?:[=<>!~ ;@].*)?")


def package_of(module: str) -> str:
    """Return the name of the package that a module is in."""
    return _PACKAGES.get(module, module)


def missing_modules(
    tree: ast.Module, conda: str | Mapping[str, Any], beside: Iterable[str]
) -> Iterator[tuple[ast.stmt, str]]:
    """Yield the imports of modules that a conda file surely does not bring.

    Parameters
    ----------
    tree
        The script. Imports in ``try`` and below ``if`` are left out: the script does without them.
    conda
        The path of the conda file, or its content.
    beside
        Names of the files and folders beside the script.
    """
    packages = _packages(conda)
    if packages is None:
        return
    has_azure = bool(packages & _AZURE)
    known = packages - _AZURE
    if not known <= BRINGS.keys():
        return  # one of them may bring anything
    there = {module for name in known for module in BRINGS[name].split()}
    own = {name.removesuffix(".py") for name in beside}
    for node, module in _imports(tree.body):
        is_there = module in there or module in own or module in _ALWAYS_THERE
        if is_there or module in sys.stdlib_module_names:
            continue
        if not has_azure or module in _NOT_IN_AZURE:
            yield node, module


def _packages(conda: str | Mapping[str, Any]) -> set[str] | None:
    """Return the packages of a conda file; None if one of them is not a plain name."""
    folder = ""
    if isinstance(conda, str):
        folder = os.path.dirname(conda)
        try:
            with open(conda, encoding="utf-8-sig") as file:
                conda = yaml.safe_load(file)
        except (OSError, UnicodeDecodeError, yaml.YAMLError):
            return None
    found = conda.get("dependencies") if isinstance(conda, Mapping) else None
    if not isinstance(found, list):
        return None
    texts: list[str] = []
    for item in found:
        if isinstance(item, str):
            texts.append(item)
        elif isinstance(item, dict) and list(item) == ["pip"] and isinstance(item["pip"], list):
            for line in item["pip"]:
                lines = _requirements(str(line), folder)
                if lines is None:
                    return None
                texts += lines
        else:
            return None
    names = [_NAME.fullmatch(text.strip()) for text in texts]
    if None in names or any(" @ " in text or "://" in text for text in texts):
        return None
    return {re.sub(r"[-_.]+", "-", match[1].lower()) for match in names if match}


def _requirements(line: str, folder: str) -> list[str] | None:
    """Return the requirements that a line of pip has; None if they are not known."""
    line = line.strip()
    match = re.fullmatch(r"(?:-r|--requirement)[ =]+(\S+)", line)
    if match is None:
        return [] if line.startswith(("--index", "--extra-index", "--find-links")) else [line]
    try:
        with open(os.path.join(folder, match[1]), encoding="utf-8-sig") as file:
            lines = [text.partition("#")[0].strip() for text in file]
    except (OSError, UnicodeDecodeError):
        return None
    options = ("--index", "--extra-index", "--find-links", "-i ", "-f ")
    return [text for text in lines if text and not text.startswith(options)]


def _imports(body: Iterable[ast.stmt]) -> Iterator[tuple[ast.stmt, str]]:
    """Yield the imports of a script that run in any case, also those in functions."""
    for node in body:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node, alias.name.partition(".")[0]
        elif isinstance(node, ast.ImportFrom):
            if node.level == 0 and node.module:
                yield node, node.module.partition(".")[0]
        elif not isinstance(node, ast.Try | ast.If):
            yield from _imports(getattr(node, "body", ()))
