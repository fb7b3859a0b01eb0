# Images by a batch endpoint: file by file, and all of a mini-batch at once.
# %%
from azure.ai.ml import Input, MLClient
from azure.ai.ml.constants import AssetTypes
from azure.ai.ml.entities import BatchEndpoint, CodeConfiguration, Data, Model, ModelBatchDeployment
from azure.ai.ml.entities import ModelBatchDeploymentSettings as Settings
from azure.identity import DefaultAzureCredential

credential = DefaultAzureCredential()
# %%
ml_client = MLClient.from_config(credential=credential)
# %%
endpoint = BatchEndpoint(name="photo-classifier", description="Names what is in a photo.")
ml_client.batch_endpoints.begin_create_or_update(endpoint).result()
model = ml_client.models.create_or_update(Model(name="photo-means", path="model"))
ml_client.data.create_or_update(Data(name="photos", path="photos", type=AssetTypes.URI_FOLDER))
photos = ml_client.data.get(name="photos", label="latest")
# %%
for name in ("by-file", "by-batch"):
    deployment = ModelBatchDeployment(
        name=name,
        endpoint_name=endpoint.name,
        model=model,
        code_configuration=CodeConfiguration(
            code="code", scoring_script=f"{name.replace('-', '_')}.py"
        ),
        environment="azureml:images@latest",
        compute="gpu-cluster",
        settings=Settings(
            instance_count=1, mini_batch_size=5, output_file_name=f"{name}.csv", error_threshold=-1
        ),
    )
    ml_client.batch_deployments.begin_create_or_update(deployment).result()
print([each.name for each in ml_client.batch_deployments.list(endpoint_name=endpoint.name)])
# %%
input = Input(type=AssetTypes.URI_FOLDER, path=photos.id)
for name in ("by-file", "by-batch"):
    job = ml_client.batch_endpoints.invoke(
        endpoint_name=endpoint.name, deployment_name=name, inputs={"photos": input}
    )
    ml_client.jobs.stream(job.name)
    ml_client.jobs.download(name=job.name, output_name="score", download_path="./")
