"""Azure's exceptions, under the names that notebooks catch."""

from __future__ import annotations

from typing import Any

from ..errors import ParallelRunError


class AzureMLException(ParallelRunError):
    """Base class of Azure's exceptions.

    Parameters
    ----------
    exception_message
        The problem and its remedy.
    inner_exception
        The cause.
    """

    def __init__(self, exception_message: str = "", inner_exception: Any = None, **_: Any) -> None:
        super().__init__(exception_message)
        self._inner = inner_exception

    @property
    def message(self) -> str:
        """The problem and its remedy."""
        return str(self.args[0])

    @property
    def inner_exception(self) -> Any:
        """The cause."""
        return self._inner


class UserErrorException(AzureMLException):
    """An argument is invalid."""


class ProjectSystemException(AzureMLException):
    """A workspace cannot be used."""


class WorkspaceException(AzureMLException):
    """A workspace is missing or exists already."""


class ComputeTargetException(AzureMLException):
    """A compute target is missing or cannot be used."""


class ExperimentException(AzureMLException):
    """An experiment is missing or cannot be used."""


class ExperimentExecutionException(AzureMLException):
    """A run failed while it was waited for."""


class RunConfigurationException(AzureMLException):
    """A run configuration is invalid."""


class ModelNotFoundException(AzureMLException):
    """A model or model version is not registered."""


class WebserviceException(AzureMLException):
    """A model cannot be found or used; Azure uses this name for errors of models."""


class DatasetValidationError(UserErrorException):
    """The data of a dataset cannot be read."""


class DatasetExecutionError(AzureMLException):
    """The data of a dataset could not be loaded."""


class ActivityFailedException(ExperimentExecutionException):
    """A pipeline or step failed while it was waited for."""


class PipelineNotFoundException(AzureMLException):
    """A published pipeline does not exist."""
