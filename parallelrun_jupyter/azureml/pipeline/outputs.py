"""Outputs of steps: folders in datastores, which other steps may read."""

from __future__ import annotations

import itertools
import re
from typing import Any

from ...pipelines.folder import STEP_RUN_ID, OutputRecord
from ..data.step_inputs import DatasetConsumptionConfig
from ..data.tables import plain_header
from ..exceptions import UserErrorException

_NAME = re.compile(r"\w+", re.ASCII)
_OUTPUT_NUMBERS = itertools.count(1)


class _Output:
    """Base of outputs: a folder that one step writes and others may read."""

    name: str
    producer: Any = None
    datastore: Any = None
    register_as = ""

    def path_template(self) -> str:
        """Return the path in the datastore, with a placeholder for the id of the step's run."""
        return f"azureml/{STEP_RUN_ID}/{self.name}"

    def record(self, default_datastore: Any) -> OutputRecord:
        """Return this output for the record of the step that writes it."""
        datastore = self.datastore if self.datastore is not None else default_datastore
        native = datastore.native
        return OutputRecord(
            self.name,
            datastore.name,
            native.url,
            self.path_template(),
            native.storage.spec() if native.storage else None,
            register_as=self.register_as,
        )

    def reading(self) -> tuple[Any, str, dict[str, Any]]:
        """Return the output, its file format, and the options for reading it."""
        return self, "files", {}


class PipelineData(_Output):
    """A folder that one step writes and other steps read.

    Parameters
    ----------
    name
        Letters, digits and underscores.
    datastore
        The datastore. Default: the pipeline's default datastore.
    output_name, output_mode, output_overwrite, data_type, is_directory, pipeline_output_name
        As in Azure; the mode makes no difference here.
    output_path_on_compute
        Ignored: scripts receive the path as an argument.

    Raises
    ------
    ValueError
        The name or the mode is invalid.
    """

    def __init__(
        self,
        name: str,
        datastore: Any = None,
        output_name: str | None = None,
        output_mode: str = "mount",
        output_path_on_compute: str | None = None,
        output_overwrite: bool | None = None,
        data_type: str | None = None,
        is_directory: bool | None = None,
        pipeline_output_name: str | None = None,
        training_output: Any = None,
    ) -> None:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            msg = (
                f"PipelineData name: [{name}] is not valid, as it may contain only letters, digits, "
                "and underscores."
            )
            raise ValueError(msg)
        if output_mode not in {"mount", "upload"}:
            msg = f"Invalid output mode [{output_mode}]; expected 'mount' or 'upload'."
            raise ValueError(msg)
        self.name = name
        self.datastore = datastore
        self.output_name = output_name or name
        self.output_mode = output_mode
        self.output_path_on_compute = output_path_on_compute
        self.data_type = data_type
        self.pipeline_output_name = pipeline_output_name

    def __repr__(self) -> str:
        return f"$AZUREML_DATAREFERENCE_{self.name}"

    def as_dataset(self) -> PipelineOutputFileDataset:
        """Return the output as a dataset for another step."""
        return PipelineOutputFileDataset(self)

    def as_input(self, input_name: str | None = None) -> PipelineData:
        """Return this output as an input of another step."""
        return self

    def as_mount(self) -> PipelineData:
        """Return this output as an input of another step."""
        return self

    def as_download(
        self,
        input_name: str | None = None,
        path_on_compute: str | None = None,
        overwrite: Any = None,
    ) -> PipelineData:
        """Return this output as an input of another step."""
        return self

    def create_input_binding(
        self,
        input_name: str | None = None,
        mode: str | None = None,
        path_on_compute: str | None = None,
        overwrite: Any = None,
    ) -> PipelineData:
        """Return this output as an input of another step."""
        return self


class PipelineOutputAbstractDataset:
    """Base of datasets of a step's output, for another step."""

    is_tabular = False

    def __init__(self, pipeline_data: Any) -> None:
        self.pipeline_data = pipeline_data
        self.name = pipeline_data.name
        self.register_as = ""

    def as_named_input(self, name: str) -> DatasetConsumptionConfig:
        """Return the dataset under a name, as an input of a step."""
        return DatasetConsumptionConfig(name, self)

    def register(
        self,
        name: str,
        create_new_version: bool = True,
        description: str | None = None,
        tags: dict[str, str] | None = None,
    ) -> Any:
        """Register the output as a dataset when the step has completed."""
        self.pipeline_data.register_as = name
        return self

    def reading(self) -> tuple[Any, str, dict[str, Any]]:
        """Return the output, its file format, and the options for reading it."""
        return self.pipeline_data, "files", {}


class PipelineOutputFileDataset(PipelineOutputAbstractDataset):
    """The files of a step's output, as a dataset for another step."""

    def as_mount(self, path_on_compute: str | None = None) -> Any:
        """Return the files as an input of another step."""
        return DatasetConsumptionConfig(self.name, self).as_mount(path_on_compute)

    def as_download(self, path_on_compute: str | None = None) -> Any:
        """Return the files as an input of another step."""
        return DatasetConsumptionConfig(self.name, self).as_download(path_on_compute)

    def as_direct(self) -> Any:
        """Return the files as an input of another step."""
        return DatasetConsumptionConfig(self.name, self)

    def parse_delimited_files(
        self,
        include_path: bool = False,
        separator: str = ",",
        header: Any = None,
        partition_format: str | None = None,
        file_extension: str = "",
        set_column_types: dict[str, Any] | None = None,
        quoted_line_breaks: bool = False,
    ) -> PipelineOutputTabularDataset:
        """Return the rows of the output's delimited files."""
        options = {"separator": separator, "header": header, "partition_format": partition_format}
        return PipelineOutputTabularDataset(self.pipeline_data, "delimited", options)

    def parse_parquet_files(
        self,
        include_path: bool = False,
        partition_format: str | None = None,
        file_extension: str = ".parquet",
        set_column_types: dict[str, Any] | None = None,
    ) -> PipelineOutputTabularDataset:
        """Return the rows of the output's Parquet files."""
        return PipelineOutputTabularDataset(
            self.pipeline_data, "parquet", {"partition_format": partition_format}
        )


class PipelineOutputTabularDataset(PipelineOutputAbstractDataset):
    """The rows of a step's output, as a dataset for another step."""

    is_tabular = True

    def __init__(self, pipeline_data: Any, reads: str, options: dict[str, Any]) -> None:
        super().__init__(pipeline_data)
        self._reads = reads
        self._options = {
            key: plain_header(value) for key, value in options.items() if value is not None
        }

    def reading(self) -> tuple[Any, str, dict[str, Any]]:
        """Return the output, its file format, and the options for reading it."""
        return self.pipeline_data, self._reads, self._options


class OutputFileDatasetConfig(_Output):
    """A folder that one step writes and other steps read as a dataset.

    Parameters
    ----------
    name
        Letters, digits and underscores. Default: ``output_1``, ``output_2``, ...
    destination
        ``(datastore, path)``; ``{run-id}`` and ``{output-name}`` in the path are replaced.
        Default: the pipeline's default datastore.
    source
        Ignored: scripts receive the path as an argument.
    partition_format
        Pattern of the paths, with partition keys in braces.

    Raises
    ------
    UserErrorException
        The name is invalid.
    """

    is_tabular = False

    def __init__(
        self,
        name: str | None = None,
        destination: Any = None,
        source: str | None = None,
        partition_format: str | None = None,
    ) -> None:
        if name is None:
            name = f"output_{next(_OUTPUT_NUMBERS)}"
        if not _NAME.fullmatch(name):
            msg = f"name is {name!r}; expected letters, digits and underscores."
            raise UserErrorException(msg)
        self.name = name
        self.destination = destination
        self.source = source
        self.partition_format = partition_format
        self.mode = "mount"
        self.datastore, self._path = _destination(destination)

    def __repr__(self) -> str:
        return f"OutputFileDatasetConfig(name={self.name!r})"

    def path_template(self) -> str:
        """Return the path in the datastore, with a placeholder for the id of the step's run."""
        path = self._path or f"azureml/{STEP_RUN_ID}/{{output-name}}"
        return path.replace("{output-name}", self.name).strip("/")

    def as_input(self, name: str | None = None) -> DatasetConsumptionConfig:
        """Return the output as an input of another step."""
        return DatasetConsumptionConfig(name or self.name, self, "mount")

    def reading(self) -> tuple[Any, str, dict[str, Any]]:
        """Return the output, its file format, and the options for reading it."""
        keys = {"partition_format": self.partition_format} if self.partition_format else {}
        return self, "files", keys

    def as_mount(self, disable_metadata_cache: bool = False) -> OutputFileDatasetConfig:
        """Return this output; the mode makes no difference here."""
        self.mode = "mount"
        return self

    def as_upload(
        self, overwrite: bool = False, source_globs: Any = None
    ) -> OutputFileDatasetConfig:
        """Return this output; the mode makes no difference here."""
        self.mode = "upload"
        return self

    def register_on_complete(
        self, name: str, description: str | None = None, tags: dict[str, str] | None = None
    ) -> OutputFileDatasetConfig:
        """Register the output as a dataset when the step has completed."""
        self.register_as = name
        return self

    def read_delimited_files(
        self,
        include_path: bool = False,
        separator: str = ",",
        header: Any = None,
        partition_format: str | None = None,
        path_glob: str | None = None,
        set_column_types: dict[str, Any] | None = None,
    ) -> OutputTabularDatasetConfig:
        """Return the rows of the output's delimited files."""
        options = {"separator": separator, "header": header, "partition_format": partition_format}
        return OutputTabularDatasetConfig(self, "delimited", options)

    def read_parquet_files(
        self,
        include_path: bool = False,
        partition_format: str | None = None,
        path_glob: str | None = None,
        set_column_types: dict[str, Any] | None = None,
    ) -> OutputTabularDatasetConfig:
        """Return the rows of the output's Parquet files."""
        return OutputTabularDatasetConfig(self, "parquet", {"partition_format": partition_format})


class OutputTabularDatasetConfig(PipelineOutputTabularDataset):
    """The rows of an `OutputFileDatasetConfig`, as a dataset for another step."""

    def as_input(self, name: str | None = None) -> DatasetConsumptionConfig:
        """Return the rows as an input of another step."""
        return DatasetConsumptionConfig(name or self.name, self)


def _destination(destination: Any) -> tuple[Any, str]:
    if destination is None:
        return None, ""
    if isinstance(destination, tuple | list) and len(destination) == 2:
        return destination[0], str(destination[1])
    if hasattr(destination, "path_on_datastore"):
        return destination.datastore, destination.path_on_datastore
    return destination, ""
