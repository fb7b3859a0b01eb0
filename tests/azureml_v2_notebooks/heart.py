# Tables by an MLflow model: without a script, then with one.
# %%
from azure.ai.ml import Input, MLClient
from azure.ai.ml.constants import AssetTypes, BatchDeploymentOutputAction
from azure.ai.ml.entities import (
    BatchEndpoint,
    BatchRetrySettings,
    CodeConfiguration,
    Data,
    Environment,
    Model,
    ModelBatchDeployment,
    ModelBatchDeploymentSettings,
)
from azure.identity import DefaultAzureCredential

credential = DefaultAzureCredential()
# %%
ml_client = MLClient.from_config(credential=credential)
# %%
endpoint = BatchEndpoint(name="heart-classifier", description="Says who is ill.")
ml_client.batch_endpoints.begin_create_or_update(endpoint).result()
model = ml_client.models.create_or_update(
    Model(name="heart-model", path="heart", type=AssetTypes.MLFLOW_MODEL)
)
patients = ml_client.data.create_or_update(
    Data(name="patients", path="patients", type=AssetTypes.URI_FOLDER)
)
# %%
settings = ModelBatchDeploymentSettings(
    instance_count=1,
    max_concurrency_per_instance=1,
    mini_batch_size=3,
    output_action=BatchDeploymentOutputAction.APPEND_ROW,
    retry_settings=BatchRetrySettings(max_retries=0, timeout=200),
)
deployment = ModelBatchDeployment(
    name="simple",
    endpoint_name=endpoint.name,
    model=model,
    compute="cpu-cluster",
    settings=settings,
)
ml_client.batch_deployments.begin_create_or_update(deployment).result()
endpoint = ml_client.batch_endpoints.get(endpoint.name)
endpoint.defaults.deployment_name = deployment.name
ml_client.batch_endpoints.begin_create_or_update(endpoint).result()
# %%
job = ml_client.batch_endpoints.invoke(
    endpoint_name=endpoint.name, input=Input(type=AssetTypes.URI_FOLDER, path=patients.id)
)
ml_client.jobs.stream(job.name)
scoring_job = list(ml_client.jobs.list(parent_job_name=job.name))[0]
ml_client.jobs.download(name=scoring_job.name, download_path="simple", output_name="score")
# %%
deployment = ModelBatchDeployment(
    name="custom",
    endpoint_name=endpoint.name,
    model=model,
    environment=Environment(name="heart-env", image="mcr.microsoft.com/openmpi"),
    code_configuration=CodeConfiguration(code="code", scoring_script="rows.py"),
    compute="cpu-cluster",
    settings=settings,
)
ml_client.batch_deployments.begin_create_or_update(deployment).result()
job = ml_client.batch_endpoints.invoke(
    endpoint_name=endpoint.name,
    deployment_name="custom",
    input=Input(type=AssetTypes.URI_FOLDER, path="patients"),
)
ml_client.jobs.stream(job.name)
ml_client.jobs.download(name=job.name, download_path="custom", output_name="score")
