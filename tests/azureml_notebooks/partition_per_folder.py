# One mini-batch for each combination of keys that the folders' names carry.
# %%
from azureml.core.workspace import Workspace

ws = Workspace.from_config()
datastore = ws.get_default_datastore()
# %%
from azureml.core import Dataset

datastore.upload("data", "dataset_partition_test", overwrite=True, show_progress=False)
partitioned_file_dataset = Dataset.File.from_files(
    path=(datastore, "dataset_partition_test/*/*/*.wav"),
    partition_format="dataset_partition_test/{user}/{season}/{genres}.wav",
    validate=False,
)
partitioned_file_dataset.partition_keys
# %%
from azureml.core.compute import AmlCompute, ComputeTarget

compute_name = "cpu-cluster"
if compute_name not in ws.compute_targets:
    config = AmlCompute.provisioning_configuration(
        vm_size="STANDARD_D2_V2", min_nodes=0, max_nodes=2
    )
    ComputeTarget.create(ws, compute_name, config).wait_for_completion(show_output=True)
compute_target = ws.compute_targets[compute_name]
# %%
from azureml.core import Environment
from azureml.core.runconfig import CondaDependencies, DEFAULT_CPU_IMAGE

batch_conda_deps = CondaDependencies.create(
    python_version="3.8", pip_packages=["azureml-core", "azureml-dataset-runtime[fuse]"]
)
batch_env = Environment(name="batch_environment")
batch_env.python.conda_dependencies = batch_conda_deps
batch_env.docker.enabled = True
batch_env.docker.base_image = DEFAULT_CPU_IMAGE
# %%
from azureml.pipeline.core import PipelineData
from azureml.pipeline.steps import ParallelRunStep, ParallelRunConfig

output_dir = PipelineData(name="file_dataset_inferences", datastore=datastore)
parallel_run_config = ParallelRunConfig(
    source_directory="scripts",
    entry_script="total_file_size.py",
    partition_keys=["user", "genres"],
    error_threshold=10,
    output_action="append_row",
    append_row_file_name="file_dataset_outputs.txt",
    environment=batch_env,
    compute_target=compute_target,
    node_count=2,
    run_invocation_timeout=600,
)
parallel_run_step = ParallelRunStep(
    name="summarize-file-size",
    inputs=[partitioned_file_dataset.as_named_input("partitioned_file_input")],
    output=output_dir,
    parallel_run_config=parallel_run_config,
    allow_reuse=False,
)
# %%
from azureml.core import Experiment
from azureml.pipeline.core import Pipeline

pipeline = Pipeline(workspace=ws, steps=[parallel_run_step])
pipeline_run = Experiment(ws, "file-dataset-partition").submit(pipeline)
pipeline_run.wait_for_completion(show_output=True)
# %%
import os
import pandas as pd

batch_run = pipeline_run.find_step_run("summarize-file-size")[0]
batch_output = batch_run.get_output_data(output_dir.name)
target_dir = "result"
batch_output.download(local_path=target_dir)
result_file = os.path.join(
    target_dir, batch_output.path_on_datastore, parallel_run_config.append_row_file_name
)
df = pd.read_csv(result_file, delimiter=",", header=None)
df.columns = ["File Names", "File Size", "Ratio", "user", "genres"]
print("Prediction has", df.shape[0], "rows")
print(df.to_csv(index=False))
