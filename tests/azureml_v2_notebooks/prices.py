# Prices by store and brand: a command step makes a table, and a model is trained for each brand in each store.
# %%
from azure.ai.ml import Input, MLClient, Output, load_component
from azure.ai.ml.constants import AssetTypes, InputOutputModes
from azure.ai.ml.dsl import pipeline
from azure.ai.ml.entities import Environment
from azure.ai.ml.parallel import RunFunction, parallel_run_function
from azure.identity import DefaultAzureCredential, InteractiveBrowserCredential

# %%
try:
    credential = DefaultAzureCredential()
    credential.get_token("https://management.azure.com/.default")
except Exception:
    credential = InteractiveBrowserCredential()
# %%
ml_client = MLClient.from_config(credential=credential)
cpu_compute_target = "cpu-cluster"
print(ml_client.compute.get(cpu_compute_target))
# %%
sales = Input(path="./prices", type=AssetTypes.URI_FOLDER, mode=InputOutputModes.RO_MOUNT)
# %%
prepare_data = load_component(source="./src/prepare/prepare.yml")
# %%
environment = Environment(
    name="price-models",
    conda_file="./src/train/conda.yml",
    image="mcr.microsoft.com/azureml/openmpi4.1.0",
)
train_models = parallel_run_function(
    name="train_models",
    display_name="A model for each store and brand",
    description="trains many small models",
    tags={"sample": "prices"},
    inputs=dict(
        table=Input(type=AssetTypes.MLTABLE, description="rows with store and brand"),
        factor=Input(type="string", description="multiplies each price"),
        drop=Input(type="string", optional=True),
    ),
    outputs=dict(
        models=Output(type=AssetTypes.URI_FOLDER, mode="rw_mount"),
        rows=Output(type=AssetTypes.MLTABLE, mode="rw_mount"),
    ),
    input_data="${{inputs.table}}",
    partition_keys=["store", "brand"],
    instance_count=2,
    max_concurrency_per_instance=2,
    mini_batch_error_threshold=5,
    logging_level="DEBUG",
    retry_settings=dict(max_retries=2, timeout=60),
    task=RunFunction(
        code="./src/train",
        entry_script="train.py",
        environment=environment,
        program_arguments="--models ${{outputs.models}} --factor ${{inputs.factor}} $[[--drop ${{inputs.drop}}]]",
        append_row_to="${{outputs.rows}}",
    ),
)


# %%
@pipeline(display_name="prices by store and brand")
def many_models(sales, factor: str):
    prepared = prepare_data(sales=sales)
    prepared.outputs.table.mode = InputOutputModes.UPLOAD

    trained = train_models(table=prepared.outputs.table, factor=factor)
    trained.inputs.table.mode = InputOutputModes.DIRECT
    trained.environment_variables = {"MODE": "loud"}
    return {"models": trained.outputs.models, "rows": trained.outputs.rows}


pipeline_job = many_models(sales=sales, factor="2")
pipeline_job.outputs.rows.type = AssetTypes.URI_FILE
pipeline_job.settings.default_compute = cpu_compute_target
print(pipeline_job)
# %%
pipeline_job = ml_client.jobs.create_or_update(pipeline_job, experiment_name="price-models")
pipeline_job
# %%
ml_client.jobs.stream(pipeline_job.name)
# %%
ml_client.jobs.download(pipeline_job.name, download_path="results", output_name="rows")
ml_client.jobs.download(pipeline_job.name, download_path="results", all=True)
