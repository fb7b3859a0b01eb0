# Tables by a script that writes Parquet files itself.
# %%
from azure.ai.ml import Input, MLClient
from azure.ai.ml.constants import AssetTypes, BatchDeploymentOutputAction
from azure.ai.ml.entities import (
    BatchEndpoint,
    BatchRetrySettings,
    CodeConfiguration,
    Model,
    ModelBatchDeployment,
    ModelBatchDeploymentSettings,
)
from azure.identity import DefaultAzureCredential

credential = DefaultAzureCredential()
# %%
ml_client = MLClient.from_config(credential=credential)
# %%
endpoint = BatchEndpoint(name="heart-parquet", description="Adds a column to tables.")
ml_client.batch_endpoints.begin_create_or_update(endpoint).result()
deployment = ModelBatchDeployment(
    name="parquet",
    endpoint_name=endpoint.name,
    model=Model(name="heart-files", path="heart", type=AssetTypes.MLFLOW_MODEL),
    environment="azureml:heart-env@latest",
    code_configuration=CodeConfiguration(code="code", scoring_script="driver.py"),
    compute="cpu-cluster",
    settings=ModelBatchDeploymentSettings(
        instance_count=1,
        mini_batch_size=5,
        output_action=BatchDeploymentOutputAction.SUMMARY_ONLY,
        retry_settings=BatchRetrySettings(max_retries=0, timeout=200),
    ),
)
ml_client.batch_deployments.begin_create_or_update(deployment).result()
# %%
job = ml_client.batch_endpoints.invoke(
    endpoint_name=endpoint.name, input=Input(type=AssetTypes.URI_FOLDER, path="patients")
)
ml_client.jobs.stream(job.name)
ml_client.jobs.download(name=job.name, download_path="parquet", output_name="score")
