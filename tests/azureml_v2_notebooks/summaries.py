# Texts in tables, summarized by a stand-in of a model; another kernel finds the deployment.
# %%
from azure.ai.ml import Input, MLClient, Output
from azure.ai.ml.entities import (
    BatchDeployment,
    BatchEndpoint,
    BatchRetrySettings,
    CodeConfiguration,
)
from azure.identity import DefaultAzureCredential

credential = DefaultAzureCredential()
# %%
ml_client = MLClient.from_config(credential=credential)
# %%
endpoint = BatchEndpoint(name="text-summaries", description="Shortens bills.")
ml_client.batch_endpoints.begin_create_or_update(endpoint).result()
deployment = BatchDeployment(
    name="stand-in",
    endpoint_name=endpoint.name,
    model=ml_client.models.get("summarizer", label="latest"),
    code_configuration=CodeConfiguration(code="code", scoring_script="summarize.py"),
    environment="azureml:summaries@latest",
    environment_variables={"MODE": "short"},
    compute="gpu-cluster",
    instance_count=1,
    mini_batch_size=1,
    output_file_name="summaries.csv",
    retry_settings=BatchRetrySettings(max_retries=1, timeout=60),
)
ml_client.batch_deployments.begin_create_or_update(deployment).result()
# %%
job = ml_client.batch_endpoints.invoke(
    endpoint_name=endpoint.name,
    input=Input(path="bills", type="uri_folder"),
    outputs={"score": Output(path="summaries", type="uri_folder")},
    mini_batch_size=2,
)
ml_client.jobs.stream(job.name)
