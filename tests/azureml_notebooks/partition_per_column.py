# A table, copied by two of its columns; each combination of them is a mini-batch.
# %%
from azureml.core import Dataset, Environment, Experiment, Workspace
from azureml.core.compute import AmlCompute, ComputeTarget
from azureml.core.runconfig import CondaDependencies, DEFAULT_CPU_IMAGE
from azureml.pipeline.core import Pipeline, PipelineData
from azureml.pipeline.steps import ParallelRunConfig, ParallelRunStep

ws = Workspace.from_config()
datastore = ws.get_default_datastore()
# %%
datastore.upload_files(["./oj_sales_data/dominicks_OJ.csv"], ".", "oj_sales_data", overwrite=True)
dataset = Dataset.Tabular.from_delimited_files(
    path=(datastore, "oj_sales_data/*.csv"), validate=False
)
print(dataset.to_pandas_dataframe().shape)
# %%
partitioned_dataset = dataset.partition_by(
    partition_keys=["Store", "Brand"],
    target=(datastore, "partition_by_key_res"),
    name="partitioned_oj_data",
)
partitioned_dataset.partition_keys
# %%
print(len(partitioned_dataset.get_partition_key_values()), "combinations",
      sorted(ws.datasets))
# %%
compute_target = ComputeTarget.create(
    ws, "cpu-cluster", AmlCompute.provisioning_configuration(vm_size="STANDARD_D2_V2", max_nodes=2)
)
batch_env = Environment(name="batch_environment")
batch_env.python.conda_dependencies = CondaDependencies.create(
    python_version="3.8",
    pip_packages=["pandas", "azureml-core", "azureml-dataset-runtime[fuse,pandas]"],
)
batch_env.docker.base_image = DEFAULT_CPU_IMAGE
# %%
output_dir = PipelineData(name="inferences", datastore=datastore)
parallel_run_config = ParallelRunConfig(
    source_directory="scripts",
    entry_script="total_income.py",
    partition_keys=["Store", "Brand"],
    error_threshold=10,
    output_action="append_row",
    append_row_file_name="revenue_outputs.txt",
    environment=batch_env,
    compute_target=compute_target,
    node_count=2,
    run_invocation_timeout=600,
)
parallel_run_step = ParallelRunStep(
    name="summarize-revenue",
    inputs=[partitioned_dataset.as_named_input("partitioned_tabular_input")],
    output=output_dir,
    parallel_run_config=parallel_run_config,
    allow_reuse=False,
)
# %%
pipeline = Pipeline(workspace=ws, steps=[parallel_run_step])
pipeline_run = Experiment(ws, "tabular-dataset-partition").submit(pipeline)
pipeline_run.wait_for_completion(show_output=True)
# %%
import os
import pandas as pd

batch_run = pipeline_run.find_step_run("summarize-revenue")[0]
batch_output = batch_run.get_output_data(output_dir.name)
target_dir = "out"
batch_output.download(local_path=target_dir)
result_file = os.path.join(
    target_dir, batch_output.path_on_datastore, parallel_run_config.append_row_file_name
)
df = pd.read_csv(result_file, delimiter=" ", header=None)
df.columns = ["WeekStarting", "Quantity", "logQuantity", "Price", "Revenue", "Store", "Brand",
              "total_income"]
print("Prediction has ", df.shape[0], " rows")
df.to_csv("revenue.csv", index=False)
