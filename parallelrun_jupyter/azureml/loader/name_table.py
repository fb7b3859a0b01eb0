"""The table of the import layer: Azure's modules and names, and the object served for each.

``docs/azureml.md`` is generated from it. It also has the messages for names that are not supported.
"""

from __future__ import annotations

import importlib
import inspect
from typing import Any, ClassVar

from ...formatting import nearest_hint

VERSION = "1.62.0+parallelrun"
DOCUMENTATION = "docs/azureml.md"

_NAMES = {
    "core.authentication": (
        "AbstractAuthentication AzureCliAuthentication InteractiveLoginAuthentication Keyvault "
        "MsiAuthentication ServicePrincipalAuthentication set_diagnostics_collection"
    ),
    "core.computes": "AmlCompute AmlComputeProvisioningConfiguration AmlComputeStatus ComputeTarget",
    "core.conda": "CondaDependencies",
    "core.datastores": "AbstractAzureStorageDatastore AzureBlobDatastore AzureFileDatastore Datastore",
    "core.environments": (
        "ContainerRegistry DEFAULT_CPU_IMAGE DEFAULT_GPU_IMAGE DockerConfiguration DockerSection "
        "Environment MPI_CPU_IMAGE MPI_GPU_IMAGE PythonSection RunConfiguration"
    ),
    "core.models": "Model",
    "core.references": "DataPath DataPathComputeBinding DataReference",
    "core.workspace": "Workspace",
    "data.datasets": "FileDataset FileDatasetFactory",
    "data.step_inputs": "DatasetConsumptionConfig PipelineParameter",
    "data.tables": "DataType Dataset PromoteHeadersBehavior TabularDataset TabularDatasetFactory",
    "exceptions": (
        "ActivityFailedException AzureMLException ComputeTargetException DatasetExecutionError "
        "DatasetValidationError ExperimentException ExperimentExecutionException "
        "ModelNotFoundException ProjectSystemException RunConfigurationException UserErrorException "
        "WebserviceException WorkspaceException"
    ),
    "loader.name_table": "VERSION",
    "pipeline.outputs": (
        "OutputFileDatasetConfig OutputTabularDatasetConfig PipelineData PipelineOutputFileDataset "
        "PipelineOutputTabularDataset"
    ),
    "pipeline.parallel_run_config": "ParallelRunConfig",
    "pipeline.parallel_run_step": "ParallelRunStep",
    "pipeline.pipeline_runs": "PipelineRun Run",
    "pipeline.pipelines": "Experiment Pipeline PublishedPipeline",
    "pipeline.step_runs": "PortDataReference StepRun StepRunOutput",
    "pipeline.steps": "PipelineStep PythonScriptStep StepSequence",
    "widgets": "ParallelRunStepDetails RunDetails",
}
"""Modules of this package, relative to ``azureml/`` -> the names that they serve."""
_HOMES = {name: f"{module}:{name}" for module, names in _NAMES.items() for name in names.split()}


def _homes(names: str) -> dict[str, str]:
    return {name: _HOMES[name] for name in names.split()}


TABLE: dict[str, dict[str, str]] = {
    "azureml": {},
    "azureml.core": _homes(
        "VERSION ComputeTarget Dataset Datastore Environment Experiment Keyvault Model Run "
        "RunConfiguration Workspace"
    ),
    "azureml.core.authentication": _homes(
        "AbstractAuthentication AzureCliAuthentication InteractiveLoginAuthentication "
        "MsiAuthentication ServicePrincipalAuthentication"
    ),
    "azureml.core.compute": _homes("AmlCompute ComputeTarget ComputeTargetException"),
    "azureml.core.compute.amlcompute": _homes(
        "AmlCompute AmlComputeProvisioningConfiguration AmlComputeStatus"
    ),
    "azureml.core.compute.compute": _homes("ComputeTarget"),
    "azureml.core.compute_target": _homes("AmlCompute ComputeTarget ComputeTargetException"),
    "azureml.core.conda_dependencies": _homes("CondaDependencies"),
    "azureml.core.dataset": _homes("Dataset"),
    "azureml.core.datastore": _homes("Datastore"),
    "azureml.core.environment": _homes(
        "DEFAULT_CPU_IMAGE DEFAULT_GPU_IMAGE CondaDependencies DockerSection PythonSection "
        "ContainerRegistry Environment"
    ),
    "azureml.core.experiment": _homes("Experiment"),
    "azureml.core.keyvault": _homes("Keyvault"),
    "azureml.core.model": _homes("Model"),
    "azureml.core.run": _homes("Run"),
    "azureml.core.runconfig": _homes(
        "DEFAULT_CPU_IMAGE DEFAULT_GPU_IMAGE CondaDependencies DockerSection PythonSection "
        "ContainerRegistry DockerConfiguration MPI_CPU_IMAGE MPI_GPU_IMAGE RunConfiguration"
    ),
    "azureml.core.workspace": _homes("Workspace"),
    "azureml.contrib": {},
    "azureml.contrib.pipeline": {},
    "azureml.contrib.pipeline.steps": {
        "ParallelRunConfig": "pipeline.parallel_run_config:PreviewParallelRunConfig",
        "ParallelRunStep": "pipeline.parallel_run_step:PreviewParallelRunStep",
    },
    "azureml.contrib.widgets": _homes("ParallelRunStepDetails"),
    "azureml.data": _homes(
        "DataType PromoteHeadersBehavior FileDataset OutputFileDatasetConfig TabularDataset"
    ),
    "azureml.data.azure_storage_datastore": _homes(
        "AbstractAzureStorageDatastore AzureBlobDatastore AzureFileDatastore"
    ),
    "azureml.data.data_reference": _homes("DataReference"),
    "azureml.data.datapath": _homes("DataPath DataPathComputeBinding"),
    "azureml.data.dataset_consumption_config": _homes("DatasetConsumptionConfig"),
    "azureml.data.dataset_factory": _homes("DataType FileDatasetFactory TabularDatasetFactory"),
    "azureml.data.dataset_type_definitions": _homes("PromoteHeadersBehavior"),
    "azureml.data.file_dataset": _homes("FileDataset"),
    "azureml.data.output_dataset_config": _homes(
        "OutputFileDatasetConfig OutputTabularDatasetConfig"
    ),
    "azureml.data.tabular_dataset": _homes("TabularDataset"),
    "azureml.exceptions": _homes(_NAMES["exceptions"]),
    "azureml._common": {},
    "azureml._common.exceptions": _homes("AzureMLException"),
    "azureml.pipeline": {},
    "azureml.pipeline.core": _homes(
        "PipelineData PipelineOutputFileDataset PipelineOutputTabularDataset PipelineRun StepRun "
        "StepRunOutput PortDataReference Pipeline PipelineParameter PipelineStep "
        "PublishedPipeline StepSequence"
    ),
    "azureml.pipeline.core.builder": _homes("PipelineData PipelineStep StepSequence"),
    "azureml.pipeline.core.graph": _homes("PipelineParameter PublishedPipeline"),
    "azureml.pipeline.core.pipeline": _homes("Pipeline"),
    "azureml.pipeline.core.pipeline_output_dataset": _homes(
        "PipelineOutputFileDataset PipelineOutputTabularDataset"
    ),
    "azureml.pipeline.core.run": _homes("PipelineRun StepRun StepRunOutput PortDataReference"),
    "azureml.pipeline.steps": _homes("ParallelRunConfig ParallelRunStep PythonScriptStep"),
    "azureml.pipeline.steps.parallel_run_config": _homes("ParallelRunConfig"),
    "azureml.pipeline.steps.parallel_run_step": _homes("ParallelRunStep"),
    "azureml.pipeline.steps.python_script_step": _homes("PythonScriptStep"),
    "azureml.telemetry": _homes("set_diagnostics_collection"),
    "azureml.widgets": _homes("RunDetails"),
}
"""Azure's module -> its names -> ``module:name``, relative to ``azureml/`` of this package."""

INSTEAD: dict[str, str] = {
    "azureml.core.ScriptRunConfig": "use PythonScriptStep in a Pipeline, or submit() of this package",
    "azureml.core.script_run_config": "use PythonScriptStep in a Pipeline",
    "azureml.core.webservice": "web services need Azure; score batches with ParallelRunStep",
    "azureml.core.image": "images need Azure; environments are set by PARALLELRUN_ENVIRONMENT",
    "azureml.core.Image": "images need Azure; environments are set by PARALLELRUN_ENVIRONMENT",
    "azureml.core.Webservice": "web services need Azure; score batches with ParallelRunStep",
    "azureml.train": "training estimators and AutoML need Azure; use PythonScriptStep",
    "azureml.automl": "AutoML needs Azure; use PythonScriptStep with a library of your choice",
    "azureml.contrib.automl": "AutoML pipelines need Azure; use ParallelRunStep",
    "azureml.explain": "use the package interpret, which needs no Azure",
    "azureml.interpret": "use the package interpret-community, which needs no Azure",
    "azureml.opendatasets": "install azureml-opendatasets, or download the files yourself",
    "azureml.tensorboard": "use tensorboard on the folder that the script writes",
    "azureml.datadrift": "dataset monitors need Azure",
    "azureml.data.dbfs_datastore": "register an Azure blob container, or use local files",
    "azureml.data.azure_sql_database_datastore": (
        "export the table to files, and create a dataset of them"
    ),
    "azureml.pipeline.core.schedule": "schedules need Azure; use cron and PublishedPipeline.submit",
    "azureml.pipeline.core.Schedule": "use cron and PublishedPipeline.submit",
    "azureml.pipeline.core.ScheduleRecurrence": "use cron and PublishedPipeline.submit",
    "azureml.pipeline.core.PipelineEndpoint": "use PublishedPipeline",
    "azureml.pipeline.core.PipelineDraft": "use Pipeline",
    "azureml.pipeline.core.TrainingOutput": "use PipelineData",
    "azureml.pipeline.core.InputPortBinding": "use PipelineData or a dataset",
    "azureml.pipeline.core.OutputPortBinding": "use PipelineData",
    "azureml.pipeline.core.module": "use PythonScriptStep",
    "azureml.pipeline.core.Module": "use PythonScriptStep",
    "azureml.pipeline.steps.AutoMLStep": "use PythonScriptStep",
    "azureml.pipeline.steps.CommandStep": "use PythonScriptStep with a script that starts the command",
    "azureml.pipeline.steps.DatabricksStep": "use PythonScriptStep",
    "azureml.pipeline.steps.DataTransferStep": "use PythonScriptStep with fsspec",
    "azureml.pipeline.steps.EstimatorStep": "use PythonScriptStep",
    "azureml.pipeline.steps.HyperDriveStep": "use PythonScriptStep with a library of your choice",
    "azureml.pipeline.steps.MpiStep": "use ParallelRunStep",
    "azureml.pipeline.steps.RScriptStep": "use PythonScriptStep",
    "azureml.pipeline.steps.AdlaStep": "use PythonScriptStep",
    "azureml.pipeline.steps.SynapseSparkStep": "use PythonScriptStep",
    "azureml.core.compute.ComputeInstance": "this machine is the compute; use AmlCompute by name",
    "azureml.core.compute.AksCompute": "this machine is the compute; use AmlCompute by name",
    "azureml.core.compute.RemoteCompute": "this machine is the compute; use AmlCompute by name",
    "azureml.core.compute.BatchCompute": "this machine is the compute; use AmlCompute by name",
    "azureml.core.compute.DataFactoryCompute": "this machine is the compute",
    "azureml.core.compute.DatabricksCompute": "this machine is the compute",
    "azureml.core.compute.HDInsightCompute": "this machine is the compute",
    "azureml.core.compute.KubernetesCompute": "this machine is the compute",
    "azureml.core.ContainerRegistry": "import it from azureml.core.runconfig",
    "azureml.core.LinkedService": "linked services need Azure",
    "azureml.core.Experiment.start_logging": "use Run.get_context().log in a step's script",
    "azureml.data.LinkTabularOutputDatasetConfig": "use OutputFileDatasetConfig",
    "azureml.data.LinkFileOutputDatasetConfig": "use OutputFileDatasetConfig",
    "azureml.data.HDFSOutputDatasetConfig": "use OutputFileDatasetConfig",
}
"""Names of Azure's SDK that the layer does not provide -> advice on alternatives."""


def load(home: str) -> Any:
    """Import and return an object by its location in this package, such as ``core.models:Model``.

    Azure's classes refer to each other in circles; loading them by name avoids circular imports.
    """
    module, _, name = home.partition(":")
    return getattr(importlib.import_module(f"..{module}", __package__), name)


def advice(name: str, hint: str = "") -> str:
    """Return the advice for a name or for its module; if there is none, the hint."""
    parts = name.split(".")
    for end in range(len(parts), 1, -1):
        words = INSTEAD.get(".".join(parts[:end]))
        if words:
            return f"{words[0].upper()}{words[1:]}."
    return hint.strip() or (
        "It needs the real Azure Machine Learning SDK, in an environment of its own."
    )


def missing_name(name: str, hint: str = "") -> str:
    """Return the error message for an unsupported name; ``hint`` suggests a similar one."""
    return (
        f"{name} is not part of the local azureml layer of parallelrun-jupyter. "
        f"{advice(name, hint)} {DOCUMENTATION} lists all names."
    )


class Partial:
    """Base of classes with only some of the attributes of Azure's class; explains a missing one."""

    _instead: ClassVar[str] = ""
    """The advice for every missing attribute of the class, starting with a space."""

    def __getattr__(self, name: str) -> Any:
        kind = type(self)
        if name.startswith("_"):
            msg = f"{kind.__name__!r} object has no attribute {name!r}"
            raise AttributeError(msg)
        names = [member for member, _ in inspect.getmembers(kind) if not member.startswith("_")]
        hint = nearest_hint(name, [*names, *vars(self)])
        msg = (
            f"{kind.__name__}.{name} is not part of the local layer.{hint} {DOCUMENTATION} lists all "
            f"names.{self._instead}"
        )
        raise AttributeError(msg)
