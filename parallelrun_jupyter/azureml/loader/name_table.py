"""The table of the import layer: Azure's modules and names, and the object served for each.

``docs/azureml.md`` is generated from it. Names that are missing here get their messages here too.
"""

from __future__ import annotations

import importlib
import inspect
from typing import Any, ClassVar

from ...formatting import nearest_hint

VERSION = "1.62.0+parallelrun"
DOCUMENTATION = "docs/azureml.md"

_DATA = {
    "DataType": "data.tables:DataType",
    "PromoteHeadersBehavior": "data.tables:PromoteHeadersBehavior",
}
_EXCEPTIONS = {
    name: f"exceptions:{name}"
    for name in (
        "ActivityFailedException", "AzureMLException", "ComputeTargetException",
        "DatasetExecutionError", "DatasetValidationError", "ExperimentException",
        "ExperimentExecutionException", "ModelNotFoundException", "ProjectSystemException",
        "RunConfigurationException", "UserErrorException", "WebserviceException",
        "WorkspaceException",
    )
}  # fmt: skip
_AUTHENTICATION = {
    name: f"core.authentication:{name}"
    for name in (
        "AbstractAuthentication", "AzureCliAuthentication", "InteractiveLoginAuthentication",
        "MsiAuthentication", "ServicePrincipalAuthentication",
    )
}  # fmt: skip
_COMPUTE = {
    "AmlCompute": "core.computes:AmlCompute",
    "ComputeTarget": "core.computes:ComputeTarget",
}
_ENVIRONMENT = {
    "DEFAULT_CPU_IMAGE": "core.environments:DEFAULT_CPU_IMAGE",
    "DEFAULT_GPU_IMAGE": "core.environments:DEFAULT_GPU_IMAGE",
    "CondaDependencies": "core.conda:CondaDependencies",
    "DockerSection": "core.environments:DockerSection",
    "PythonSection": "core.environments:PythonSection",
}
_STEPS = {
    "ParallelRunConfig": "pipeline.parallel_run_config:ParallelRunConfig",
    "ParallelRunStep": "pipeline.parallel_run_step:ParallelRunStep",
    "PythonScriptStep": "pipeline.steps:PythonScriptStep",
}
_RUNS = {
    "PipelineRun": "pipeline.pipeline_runs:PipelineRun",
    "StepRun": "pipeline.step_runs:StepRun",
    "StepRunOutput": "pipeline.step_runs:StepRunOutput",
    "PortDataReference": "pipeline.step_runs:PortDataReference",
}
_PIPELINE_OUTPUTS = {
    "PipelineData": "pipeline.outputs:PipelineData",
    "PipelineOutputFileDataset": "pipeline.outputs:PipelineOutputFileDataset",
    "PipelineOutputTabularDataset": "pipeline.outputs:PipelineOutputTabularDataset",
}

TABLE: dict[str, dict[str, str]] = {
    "azureml": {},
    "azureml.core": {
        "VERSION": "loader.name_table:VERSION",
        "ComputeTarget": "core.computes:ComputeTarget",
        "Dataset": "data.tables:Dataset",
        "Datastore": "core.datastores:Datastore",
        "Environment": "core.environments:Environment",
        "Experiment": "pipeline.pipelines:Experiment",
        "Keyvault": "core.authentication:Keyvault",
        "Model": "core.models:Model",
        "Run": "pipeline.pipeline_runs:Run",
        "RunConfiguration": "core.environments:RunConfiguration",
        "Workspace": "core.workspace:Workspace",
    },
    "azureml.core.authentication": _AUTHENTICATION,
    "azureml.core.compute": {
        **_COMPUTE,
        "ComputeTargetException": "exceptions:ComputeTargetException",
    },
    "azureml.core.compute.amlcompute": {
        "AmlCompute": "core.computes:AmlCompute",
        "AmlComputeProvisioningConfiguration": "core.computes:AmlComputeProvisioningConfiguration",
        "AmlComputeStatus": "core.computes:AmlComputeStatus",
    },
    "azureml.core.compute.compute": {"ComputeTarget": "core.computes:ComputeTarget"},
    "azureml.core.compute_target": {
        **_COMPUTE,
        "ComputeTargetException": "exceptions:ComputeTargetException",
    },
    "azureml.core.conda_dependencies": {"CondaDependencies": "core.conda:CondaDependencies"},
    "azureml.core.dataset": {"Dataset": "data.tables:Dataset"},
    "azureml.core.datastore": {"Datastore": "core.datastores:Datastore"},
    "azureml.core.environment": {
        **_ENVIRONMENT,
        "ContainerRegistry": "core.environments:ContainerRegistry",
        "Environment": "core.environments:Environment",
    },
    "azureml.core.experiment": {"Experiment": "pipeline.pipelines:Experiment"},
    "azureml.core.keyvault": {"Keyvault": "core.authentication:Keyvault"},
    "azureml.core.model": {"Model": "core.models:Model"},
    "azureml.core.run": {"Run": "pipeline.pipeline_runs:Run"},
    "azureml.core.runconfig": {
        **_ENVIRONMENT,
        "ContainerRegistry": "core.environments:ContainerRegistry",
        "DockerConfiguration": "core.environments:DockerConfiguration",
        "MPI_CPU_IMAGE": "core.environments:MPI_CPU_IMAGE",
        "MPI_GPU_IMAGE": "core.environments:MPI_GPU_IMAGE",
        "RunConfiguration": "core.environments:RunConfiguration",
    },
    "azureml.core.workspace": {"Workspace": "core.workspace:Workspace"},
    "azureml.contrib": {},
    "azureml.contrib.pipeline": {},
    "azureml.contrib.pipeline.steps": {
        "ParallelRunConfig": "pipeline.parallel_run_config:PreviewParallelRunConfig",
        "ParallelRunStep": "pipeline.parallel_run_step:PreviewParallelRunStep",
    },
    "azureml.contrib.widgets": {
        "ParallelRunStepDetails": "widgets:ParallelRunStepDetails",
    },
    "azureml.data": {
        **_DATA,
        "FileDataset": "data.datasets:FileDataset",
        "OutputFileDatasetConfig": "pipeline.outputs:OutputFileDatasetConfig",
        "TabularDataset": "data.tables:TabularDataset",
    },
    "azureml.data.azure_storage_datastore": {
        "AbstractAzureStorageDatastore": "core.datastores:AbstractAzureStorageDatastore",
        "AzureBlobDatastore": "core.datastores:AzureBlobDatastore",
        "AzureFileDatastore": "core.datastores:AzureFileDatastore",
    },
    "azureml.data.data_reference": {"DataReference": "core.references:DataReference"},
    "azureml.data.datapath": {
        "DataPath": "core.references:DataPath",
        "DataPathComputeBinding": "core.references:DataPathComputeBinding",
    },
    "azureml.data.dataset_consumption_config": {
        "DatasetConsumptionConfig": "data.step_inputs:DatasetConsumptionConfig",
    },
    "azureml.data.dataset_factory": {
        "DataType": "data.tables:DataType",
        "FileDatasetFactory": "data.datasets:FileDatasetFactory",
        "TabularDatasetFactory": "data.tables:TabularDatasetFactory",
    },
    "azureml.data.dataset_type_definitions": {
        "PromoteHeadersBehavior": "data.tables:PromoteHeadersBehavior",
    },
    "azureml.data.file_dataset": {"FileDataset": "data.datasets:FileDataset"},
    "azureml.data.output_dataset_config": {
        "OutputFileDatasetConfig": "pipeline.outputs:OutputFileDatasetConfig",
        "OutputTabularDatasetConfig": "pipeline.outputs:OutputTabularDatasetConfig",
    },
    "azureml.data.tabular_dataset": {"TabularDataset": "data.tables:TabularDataset"},
    "azureml.exceptions": _EXCEPTIONS,
    "azureml._common": {},
    "azureml._common.exceptions": {"AzureMLException": "exceptions:AzureMLException"},
    "azureml.pipeline": {},
    "azureml.pipeline.core": {
        **_PIPELINE_OUTPUTS,
        **_RUNS,
        "Pipeline": "pipeline.pipelines:Pipeline",
        "PipelineParameter": "data.step_inputs:PipelineParameter",
        "PipelineStep": "pipeline.steps:PipelineStep",
        "PublishedPipeline": "pipeline.pipelines:PublishedPipeline",
        "StepSequence": "pipeline.steps:StepSequence",
    },
    "azureml.pipeline.core.builder": {
        "PipelineData": "pipeline.outputs:PipelineData",
        "PipelineStep": "pipeline.steps:PipelineStep",
        "StepSequence": "pipeline.steps:StepSequence",
    },
    "azureml.pipeline.core.graph": {
        "PipelineParameter": "data.step_inputs:PipelineParameter",
        "PublishedPipeline": "pipeline.pipelines:PublishedPipeline",
    },
    "azureml.pipeline.core.pipeline": {"Pipeline": "pipeline.pipelines:Pipeline"},
    "azureml.pipeline.core.pipeline_output_dataset": {
        "PipelineOutputFileDataset": "pipeline.outputs:PipelineOutputFileDataset",
        "PipelineOutputTabularDataset": "pipeline.outputs:PipelineOutputTabularDataset",
    },
    "azureml.pipeline.core.run": _RUNS,
    "azureml.pipeline.steps": _STEPS,
    "azureml.pipeline.steps.parallel_run_config": {
        "ParallelRunConfig": "pipeline.parallel_run_config:ParallelRunConfig",
    },
    "azureml.pipeline.steps.parallel_run_step": {
        "ParallelRunStep": "pipeline.parallel_run_step:ParallelRunStep"
    },
    "azureml.pipeline.steps.python_script_step": {
        "PythonScriptStep": "pipeline.steps:PythonScriptStep"
    },
    "azureml.telemetry": {
        "set_diagnostics_collection": "core.authentication:set_diagnostics_collection"
    },
    "azureml.widgets": {"RunDetails": "widgets:RunDetails"},
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
    "azureml.opendatasets": "install azureml-opendatasets, or fetch the files yourself",
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
"""Names of Azure's SDK that are not available here -> the advice that replaces them."""


def load(home: str) -> Any:
    """Import and return an object by its place in this package, such as ``core.models:Model``.

    Azure's classes refer to each other in circles; loading them by name keeps the imports free of
    circles.
    """
    module, _, name = home.partition(":")
    return getattr(importlib.import_module(f"..{module}", __package__), name)


def advice(name: str, hint: str = "") -> str:
    """Return the advice for a name or for the module it is in, else the hint."""
    parts = name.split(".")
    for end in range(len(parts), 1, -1):
        words = INSTEAD.get(".".join(parts[:end]))
        if words:
            return f"{words[0].upper()}{words[1:]}."
    return hint.strip() or (
        "It needs the real Azure Machine Learning SDK, in an environment of its own."
    )


def missing_name(name: str, hint: str = "") -> str:
    """Return the message for a name that the layer does not have; ``hint`` suggests a similar one."""
    return (
        f"{name} is not part of the local azureml layer of parallelrun-jupyter. "
        f"{advice(name, hint)} {DOCUMENTATION} lists all names."
    )


class Partial:
    """Base of classes that have only some of the attributes of Azure's; explains a missing one."""

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
