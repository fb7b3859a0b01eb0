# Digits by a batch endpoint: two deployments, the default one changed, settings changed for one call.
# %%
from pathlib import Path

from azure.ai.ml import Input, MLClient
from azure.ai.ml.constants import AssetTypes, BatchDeploymentOutputAction
from azure.ai.ml.entities import (
    AmlCompute,
    BatchEndpoint,
    BatchRetrySettings,
    CodeConfiguration,
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
endpoint_name = "digits-batch"
endpoint = BatchEndpoint(name=endpoint_name, description="Reads digits.", tags={"kind": "images"})
ml_client.begin_create_or_update(endpoint).result()
# %%
ml_client.models.create_or_update(
    Model(name="digits", path="model/", type=AssetTypes.CUSTOM_MODEL, tags={"task": "digits"})
)
model = ml_client.models.get(name="digits", label="latest")
# %%
if not any(each.name == "batch-cluster" for each in ml_client.compute.list()):
    cluster = AmlCompute(name="batch-cluster", min_instances=0, max_instances=2)
    ml_client.compute.begin_create_or_update(cluster).result()
while ml_client.compute.get(name="batch-cluster").provisioning_state == "Creating":
    pass
# %%
env = Environment(name="plain", conda_file="src/train/conda.yml", image="mcr.microsoft.com/openmpi")


def deployment_of(name, script):
    return ModelBatchDeployment(
        name=name,
        description="Reads digits from images.",
        endpoint_name=endpoint_name,
        model=model,
        code_configuration=CodeConfiguration(code="src/mnist", scoring_script=script),
        environment=env,
        compute="batch-cluster",
        settings=ModelBatchDeploymentSettings(
            max_concurrency_per_instance=1,
            mini_batch_size=10,
            instance_count=1,
            output_action=BatchDeploymentOutputAction.APPEND_ROW,
            output_file_name="predictions.csv",
            retry_settings=BatchRetrySettings(max_retries=3, timeout=30),
            logging_level="info",
        ),
    )


deployment = deployment_of("first-dpl", "batch_driver.py")
ml_client.begin_create_or_update(deployment).result()
# %%
endpoint = ml_client.batch_endpoints.get(endpoint_name)
endpoint.defaults.deployment_name = deployment.name
ml_client.batch_endpoints.begin_create_or_update(endpoint).result()
print("default", ml_client.batch_endpoints.get(endpoint_name).defaults.deployment_name)
# %%
ml_client.batch_deployments.get(name=deployment.name, endpoint_name=endpoint.name)
# %%
job = ml_client.batch_endpoints.invoke(
    endpoint_name=endpoint_name,
    deployment_name=deployment.name,
    input=Input(path=Path() / "data", type=AssetTypes.URI_FOLDER),
)
ml_client.jobs.get(job.name)
# %%
from parallelrun_jupyter import RunDetails

RunDetails(job).show()
# %%
ml_client.jobs.stream(job.name)
# %%
scoring_job = list(ml_client.jobs.list(parent_job_name=job.name))[0]
took = scoring_job.creation_context.last_modified_at - scoring_job.creation_context.created_at
print("Job:", scoring_job.status, 0 < took.total_seconds() < 100)
ml_client.jobs.download(name=scoring_job.name, download_path=".", output_name="score")
# %%
batch_ds = ml_client.datastores.get_default()
job = ml_client.batch_endpoints.invoke(
    endpoint_name=endpoint_name,
    input=Input(path="./data", type=AssetTypes.URI_FOLDER),
    params_override=[
        {"output_dataset.datastore_id": f"azureml:{batch_ds.id}"},
        {"output_dataset.path": f"/{endpoint_name}/"},
        {"output_file_name": "again.csv"},
    ],
)
ml_client.jobs.stream(job.name)
again = job.outputs["score"].path
print(again == f"{batch_ds.path}/{endpoint_name}/again.csv", len(open(again).readlines()))
# %%
second = deployment_of("second-dpl", "second_driver.py")
ml_client.begin_create_or_update(second).result()
endpoint = ml_client.batch_endpoints.get(endpoint_name)
endpoint.defaults.deployment_name = second.name
ml_client.batch_endpoints.begin_create_or_update(endpoint).result()
ml_client.batch_deployments.begin_delete(endpoint_name=endpoint_name, name=deployment.name).result()
# %%
job = ml_client.batch_endpoints.invoke(
    endpoint_name=endpoint_name,
    input=Input(path="./data"),
    params_override=[{"mini_batch_size": "20"}, {"compute.instance_count": "2"}],
)
ml_client.jobs.stream(job.name)
print(
    "settings",
    job.scoring.snapshot()["mini_batches"],
    job.folder.read_record().placement.node_count,
)
print(sorted(open(job.outputs["score"].path).read().split())[:2])
# %%
for run in ml_client.jobs.list():
    if run.experiment_name == endpoint_name:
        print("Name:", run.display_name, "Status:", run.status)
print(len(list(ml_client.batch_endpoints.list_jobs(endpoint_name=endpoint_name))))
# %%
ml_client.batch_endpoints.begin_delete(name=endpoint_name)
print([each.name for each in ml_client.batch_endpoints.list()])
