"""The exceptions that notebooks catch by Azure's names."""

from __future__ import annotations

from typing import Any

from ..errors import ParallelRunError


class AzureMLException(ParallelRunError):
    """Base of the exceptions with Azure's names.

    Parameters
    ----------
    exception_message
        What is wrong, and what to do.
    inner_exception
        What caused it.
    """

    def __init__(self, exception_message: str = "", inner_exception: Any = None, **_: Any) -> None:
        super().__init__(exception_message)
        self._inner = inner_exception

    @property
    def message(self) -> str:
        """What is wrong."""
        return str(self.args[0])

    @property
    def inner_exception(self) -> Any:
        """What caused it."""
        return self._inner


class UserErrorException(AzureMLException):
    """Something that was given is wrong."""


class ProjectSystemException(AzureMLException):
    """Something about a workspace is wrong."""


class WorkspaceException(AzureMLException):
    """A workspace is missing, or there already."""


class ComputeTargetException(AzureMLException):
    """A compute target is missing or cannot be used."""


class ExperimentException(AzureMLException):
    """An experiment is missing or cannot be used."""


class ExperimentExecutionException(AzureMLException):
    """A run that was waited for has failed."""


class RunConfigurationException(AzureMLException):
    """A run configuration is wrong."""


class ModelNotFoundException(AzureMLException):
    """A model, or a version of it, is not registered."""


class WebserviceException(AzureMLException):
    """A model cannot be found or used; Azure's models raise it under this name."""


class DatasetValidationError(UserErrorException):
    """The data of a dataset cannot be read."""


class DatasetExecutionError(AzureMLException):
    """The data of a dataset could not be loaded."""


class ActivityFailedException(ExperimentExecutionException):
    """A step that was waited for has failed."""


class PipelineNotFoundException(AzureMLException):
    """A published pipeline is not there."""
