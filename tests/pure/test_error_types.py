"""Exceptions are recognized by their names and texts, without an import of their packages."""

from __future__ import annotations

import copy
import errno
import importlib.util
import pickle
import sys
import weakref
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from parallelrun_jupyter import RetryAfter
from parallelrun_jupyter.worker import own_package
from parallelrun_jupyter.worker.error_types import (
    asked_delay_s,
    base_names,
    drop_frames,
    is_out_of_memory,
)
from parallelrun_jupyter.worker.failures import BadInput, BadResult, describe


def stand_in(name: str, module: str, *bases: type) -> Any:
    return type(name, bases, {"__module__": module})


TORCH = stand_in("OutOfMemoryError", "torch", RuntimeError)
CUPY = stand_in("OutOfMemoryError", "cupy.cuda.memory", Exception)
TENSORFLOW = stand_in(
    "ResourceExhaustedError", "tensorflow.python.framework.errors_impl", Exception
)
JAX = stand_in("XlaRuntimeError", "jaxlib.xla_extension", RuntimeError)
PANDAS = stand_in("ParserError", "pandas.errors", ValueError)
QUOTA = stand_in("ResourceExhausted", "google.api_core.exceptions", Exception)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        np._core._exceptions._ArrayMemoryError((9,), np.dtype("f8")),  # type: ignore[attr-defined]
        pa.ArrowMemoryError("malloc of size 64 failed"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        TORCH("CUDA out of memory. Tried to allocate 2 GiB"),
        CUPY("Out of memory allocating 8 bytes"),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB (GPU 0)"),
        RuntimeError("step 3: CUDA error: out of memory"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:75] DefaultCPUAllocator: can't allocate memory"
        ),
        TENSORFLOW("OOM when allocating tensor with shape[64,512]"),
        JAX("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 8 bytes."),
        PANDAS("Error tokenizing data. C error: out of memory"),
    ],
)
def test_a_lack_of_memory_is_recognized_also_inside_another_exception(error: Exception) -> None:
    assert is_out_of_memory(error)
    for wrapper in (
        _caused_by(error),
        _during(error),
        BadInput("the rows of x"),
    ):
        if not wrapper.__context__:
            wrapper.__cause__ = error
        assert describe(wrapper, [], "run")["kind"] == "out_of_memory"


def _caused_by(error: Exception) -> Exception:
    try:
        raise ValueError("could not predict") from error
    except ValueError as wrapper:
        return wrapper


def _during(error: Exception) -> Exception:
    try:
        try:
            raise error
        except type(error):
            raise KeyError("clean up")  # noqa: B904 - the context is tested
    except KeyError as wrapper:
        return wrapper


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("out of luck"),
        ValueError("CUDA out of memory is what I print"),
        OSError(errno.ENOENT, "No such file"),
        QUOTA("429 quota"),
        TENSORFLOW("too many open streams"),
        BadResult("wrong_result", "run() returned a str"),
    ],
)
def test_others_are_not_a_lack_of_memory(error: Exception) -> None:
    assert not is_out_of_memory(error)
    assert describe(error, [], "run")["kind"] != "out_of_memory"


def test_a_type_has_the_names_of_its_bases() -> None:
    request = stand_in("RequestException", "requests.exceptions", IOError)
    error = stand_in("ConnectionError", "requests.exceptions", request)("no route")
    names = ["ConnectionError", "requests.exceptions.ConnectionError", "RequestException",
             "requests.exceptions.RequestException", "OSError", "Exception", "BaseException"]  # fmt: skip
    assert base_names(error) == names
    assert describe(error, [], "run")["bases"] == names
    assert base_names(BadInput("x")) == ["BadInput", "Exception", "BaseException"]


def test_the_names_are_bounded() -> None:
    kind: Any = ValueError
    for number in range(200):
        kind = stand_in("E" * 500 + str(number), "m", kind)
    names = base_names(kind())
    assert len(names) <= 60
    assert max(map(len, names)) <= 200


@pytest.mark.parametrize("seconds", [0, 30, 0.5, np.float32(2), np.int64(3), "30", "1.5"])
def test_a_delay_is_kept_through_copies_and_wrappers(seconds: Any) -> None:
    error = RetryAfter(seconds, "busy")
    for same in (error, copy.copy(error), pickle.loads(pickle.dumps(error)), _caused_by(error), _during(error)):  # fmt: skip
        assert asked_delay_s(same) == float(seconds)
        assert describe(same, [], "run")["retry_after_s"] == float(seconds)
    assert str(error) == f"try again after {float(seconds):g} s: busy"


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), "soon", None, True, [1]])
def test_a_delay_that_is_no_number_of_seconds_is_refused(seconds: Any) -> None:
    with pytest.raises(ValueError, match=r"RetryAfter\(.*\): expected the delay in seconds"):
        RetryAfter(seconds)


def test_other_exceptions_ask_for_no_delay() -> None:
    alike = stand_in("RetryAfter", "urllib", Exception)("soon")
    for error in (ValueError("x"), alike):
        assert "retry_after_s" not in describe(error, [], "run")
    alike.seconds = 4
    assert describe(alike, [], "run")["retry_after_s"] == 4.0


def test_the_package_is_served_after_an_installed_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    own_package.install()
    own_package.install()
    (finder,) = (f for f in sys.meta_path if isinstance(f, own_package.OwnPackageFinder))
    assert sys.meta_path[-1] is finder
    assert finder.find_spec("parallelrun_jupyter.nothing_of_that_name") is None
    module = importlib.util.module_from_spec(finder.find_spec(own_package.PACKAGE))
    finder.exec_module(module)
    assert module.__all__ == ["RetryAfter"]
    assert module.RetryAfter(3).seconds == 3.0
    with pytest.raises(AttributeError, match=r"parallelrun_jupyter\.submit is not available"):
        _ = module.submit


def test_the_variables_of_ended_calls_are_freed_and_their_lines_stay() -> None:
    class Large:
        pass

    def run() -> None:
        large = Large()
        alive.append(weakref.ref(large))
        raise MemoryError

    alive: list[Any] = []
    with pytest.raises(MemoryError) as caught:
        run()
    assert alive[0]() is not None
    drop_frames(caught.value)
    assert alive[0]() is None
    failure = describe(caught.value, [__file__.rpartition("/")[0]], "run")
    assert failure["group"].endswith(" in run")
