"""Datasets as inputs of steps."""

from __future__ import annotations

import re
from typing import Any

from ...pipelines.folder import InputRecord
from ..core.parameters import PipelineParameter
from ..exceptions import UserErrorException

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
MODES = ("direct", "mount", "download", "hdfs")


class DatasetConsumptionConfig:
    """A dataset as an input of a step, under a name.

    Parameters
    ----------
    name
        The name: letters, digits and underscores.
    dataset
        A dataset, a `PipelineParameter` whose default is one, or the output of another step.
    mode
        ``direct``, ``mount`` or ``download``. Files have paths here in any of them.
    path_on_compute
        Where the script wants to find the files.
    """

    def __init__(
        self,
        name: str,
        dataset: Any,
        mode: str = "direct",
        path_on_compute: str | None = None,
    ) -> None:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            msg = (
                f"Invalid input name {name!r}; expected letters, digits and underscores, the first "
                "one no digit."
            )
            raise UserErrorException(msg)
        if mode not in MODES:
            msg = f"mode is {mode!r}; expected one of {', '.join(MODES)}."
            raise UserErrorException(msg)
        self.name = name
        self.dataset = dataset
        self.mode = mode
        self.path_on_compute = path_on_compute

    def __repr__(self) -> str:
        return f"DatasetConsumptionConfig(name={self.name!r}, mode={self.mode!r})"

    def as_mount(self, path_on_compute: str | None = None) -> DatasetConsumptionConfig:
        """Let the step read the files through paths."""
        return DatasetConsumptionConfig(self.name, self.dataset, "mount", path_on_compute)

    def as_download(self, path_on_compute: str | None = None) -> DatasetConsumptionConfig:
        """Let the step read the files through paths."""
        return DatasetConsumptionConfig(self.name, self.dataset, "download", path_on_compute)

    def as_direct(self) -> DatasetConsumptionConfig:
        """Let the step read the dataset itself."""
        return DatasetConsumptionConfig(self.name, self.dataset, "direct")

    @property
    def is_tabular(self) -> bool:
        """Whether its items are rows."""
        source = self.dataset
        if isinstance(source, PipelineParameter):
            source = source.default_value
        return bool(getattr(source, "is_tabular", False))

    def record(self, keys: dict[int, tuple[str, str]]) -> InputRecord:
        """Return what a step's record says of this input.

        Parameters
        ----------
        keys
            The step and the name of each output, by the identity of the object.
        """
        place = self.path_on_compute or ""
        source = self.dataset
        if isinstance(source, PipelineParameter):
            return InputRecord(self.name, {"parameter": source.name}, path_on_compute=place)
        if hasattr(source, "native"):
            return InputRecord(self.name, source.native.spec(), path_on_compute=place)
        output, reads, options = source.reading()
        return InputRecord(self.name, {"output": list(keys[id(output)])}, reads, options, place)
