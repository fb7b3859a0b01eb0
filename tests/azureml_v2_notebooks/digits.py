# Images: a command writes the digits, a parallel step classifies them file by file, a third one counts.
# %%
from azure.ai.ml import Input, MLClient, Output, command
from azure.ai.ml.constants import AssetTypes
from azure.ai.ml.dsl import pipeline
from azure.ai.ml.entities import Environment
from azure.ai.ml.parallel import RunFunction, parallel_run_function
from azure.identity import DefaultAzureCredential

credential = DefaultAzureCredential()
# %%
ml_client = MLClient.from_config(credential=credential)
# %%
environment = Environment(
    image="mcr.microsoft.com/azureml/openmpi4.1.0", conda_file="./src/train/conda.yml"
)
prepare = command(
    name="prepare_digits",
    display_name="Write the digits",
    inputs=dict(count=30),
    outputs=dict(images=Output(type=AssetTypes.URI_FOLDER, mode="rw_mount")),
    code="./src/digits",
    command="python prepare.py ${{inputs.count}} ${{outputs.images}} && echo $GREETING",
    environment=environment,
    environment_variables={"GREETING": "hello"},
)
identify = parallel_run_function(
    name="identify_digits",
    inputs=dict(
        images=Input(type=AssetTypes.URI_FOLDER),
        shift=Input(type="integer", default=1, optional=True),
    ),
    outputs=dict(found=Output(type=AssetTypes.URI_FILE)),
    input_data="${{inputs.images}}",
    mini_batch_size="7",
    instance_count=1,
    mini_batch_error_threshold=10,
    max_concurrency_per_instance=2,
    task=RunFunction(
        code="./src/digits",
        entry_script="identify.py",
        environment=environment,
        program_arguments="$[[--shift ${{inputs.shift}}]]",
        append_row_to="${{outputs.found}}",
    ),
)
count = command(
    name="count",
    inputs=dict(found=Input(type=AssetTypes.URI_FILE)),
    outputs=dict(total=Output(type=AssetTypes.URI_FILE)),
    command="wc -l < ${{inputs.found}} > ${{outputs.total}}",
    environment="azureml:base@latest",
)


@pipeline(default_compute="cpu-cluster")
def digits(number: int):
    written = prepare(count=number)
    identified = identify(images=written.outputs.images)
    identified.resources.instance_count = 2
    identified.max_concurrency_per_instance = 1
    identified.outputs.found.path = (
        f"azureml://datastores/workspaceblobstore/paths/${{name}}/found.csv"
    )
    counted = count(found=identified.outputs.found)
    return {"total": counted.outputs.total}


job = ml_client.jobs.create_or_update(digits(number=20), experiment_name="digits")
# %%
from parallelrun_jupyter import RunDetails

RunDetails(job).show()
# %%
ml_client.jobs.stream(job.name)
# %%
steps = list(ml_client.jobs.list(parent_job_name=job.name))
print([(step.display_name, step.status) for step in steps])
ml_client.jobs.download(steps[0].name, download_path="logs")
