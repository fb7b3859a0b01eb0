# A pipeline component behind a batch endpoint.
# %%
from azure.ai.ml import Input, MLClient, load_component
from azure.ai.ml.entities import BatchEndpoint, PipelineComponentBatchDeployment
from azure.identity import DefaultAzureCredential

credential = DefaultAzureCredential()
# %%
ml_client = MLClient.from_config(credential=credential)
# %%
endpoint = BatchEndpoint(name="hello-batch", description="Says hello.")
ml_client.batch_endpoints.begin_create_or_update(endpoint).result()
component = load_component(source="hello.yml")
deployment = PipelineComponentBatchDeployment(
    name="hello-dpl",
    description="A greeting for each name.",
    endpoint_name=endpoint.name,
    component=component,
    settings={"default_compute": "batch-cluster", "continue_on_step_failure": False},
)
ml_client.batch_deployments.begin_create_or_update(deployment).result()
endpoint = ml_client.batch_endpoints.get(endpoint.name)
endpoint.defaults = {"deployment_name": deployment.name}
ml_client.batch_endpoints.begin_create_or_update(endpoint).result()
# %%
job = ml_client.batch_endpoints.invoke(
    endpoint_name=endpoint.name,
    inputs={
        "times": Input(type="integer", default=2),
        "names": Input(type="uri_folder", path="names"),
    },
)
ml_client.jobs.stream(job.name)
print([step.display_name for step in ml_client.jobs.list(parent_job_name=job.name)])
ml_client.jobs.download(name=job.name, download_path=".", output_name="cards")
