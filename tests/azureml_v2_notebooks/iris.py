# Rows of a table, in mini-batches by size, with the thresholds and timeouts among the script's arguments.
# %%
from azure.ai.ml import Input, MLClient, Output
from azure.ai.ml.constants import AssetTypes
from azure.ai.ml.dsl import pipeline
from azure.ai.ml.entities import AmlCompute, Data, Model
from azure.ai.ml.parallel import RunFunction, parallel_run_function
from azure.identity import InteractiveBrowserCredential

credential = InteractiveBrowserCredential()
# %%
ml_client = MLClient.from_config(credential=credential)
cluster = AmlCompute(name="iris-cluster", size="STANDARD_D2_V2", min_instances=0, max_instances=4)
ml_client.compute.begin_create_or_update(cluster).result()
print(ml_client.compute.get("iris-cluster").size)
# %%
table = ml_client.data.create_or_update(
    Data(name="iris-rows", version="initial", path="./iris", type=AssetTypes.MLTABLE)
)
model = ml_client.models.create_or_update(
    Model(name="iris-rule", path="./model", type=AssetTypes.CUSTOM_MODEL)
)
print(table.id, model.id)
# %%
classify = parallel_run_function(
    name="classify",
    inputs=dict(
        rows=Input(type=AssetTypes.MLTABLE),
        rule=Input(type=AssetTypes.CUSTOM_MODEL),
    ),
    outputs=dict(result=Output(type=AssetTypes.URI_FILE)),
    input_data="${{inputs.rows}}",
    mini_batch_size="1kb",
    instance_count=1,
    max_concurrency_per_instance=2,
    error_threshold=-1,
    mini_batch_error_threshold=5,
    retry_settings=dict(max_retries=1, timeout=120),
    logging_level="INFO",
    task=RunFunction(
        code="./src/iris",
        entry_script="classify.py",
        environment="azureml:iris-env@latest",
        program_arguments="--rule ${{inputs.rule}} --error_threshold 5 --allowed_failed_percent 30 "
        "--task_overhead_timeout 1200 --progress_update_timeout 600 --first_task_creation_timeout 600",
        append_row_to="${{outputs.result}}",
    ),
)


@pipeline()
def iris(rows, rule):
    result = classify(rows=rows, rule=rule)
    result.outputs.result = Output(type="uri_file", path="./out/iris.txt", mode="rw_mount")


job = iris(
    rows=Input(path="azureml:iris-rows:initial", type=AssetTypes.MLTABLE, mode="eval_mount"),
    rule=Input(path=model.id, type=AssetTypes.CUSTOM_MODEL, mode="download"),
)
job.settings.default_compute = "iris-cluster"
# %%
returned_job = ml_client.jobs.create_or_update(job, experiment_name="iris")
print(returned_job.studio_url)
ml_client.jobs.stream(returned_job.name)
