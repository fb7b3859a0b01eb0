# Files by a model folder, mini-batch size and input as parameters, then a resubmit with others.
# %%
import azureml.core

print("SDK version:", azureml.core.VERSION)
# %%
from azureml.core import Workspace

ws = Workspace.from_config()
print(
    "Workspace name: " + ws.name,
    "Azure region: " + ws.location,
    "Subscription id: " + ws.subscription_id,
    "Resource group: " + ws.resource_group,
    sep="\n",
)
# %%
import os
from azureml.core.compute import AmlCompute, ComputeTarget

compute_name = os.environ.get("AML_COMPUTE_CLUSTER_NAME", "cpu-cluster")
compute_min_nodes = os.environ.get("AML_COMPUTE_CLUSTER_MIN_NODES", 0)
compute_max_nodes = os.environ.get("AML_COMPUTE_CLUSTER_MAX_NODES", 2)
vm_size = os.environ.get("AML_COMPUTE_CLUSTER_SKU", "STANDARD_D2_V2")

if compute_name in ws.compute_targets:
    compute_target = ws.compute_targets[compute_name]
    if compute_target and type(compute_target) is AmlCompute:
        print("found compute target. just use it. " + compute_name)
else:
    print("creating a new compute target...")
    provisioning_config = AmlCompute.provisioning_configuration(
        vm_size=vm_size, min_nodes=compute_min_nodes, max_nodes=compute_max_nodes
    )
    compute_target = ComputeTarget.create(ws, compute_name, provisioning_config)
    compute_target.wait_for_completion(show_output=True, min_node_count=None, timeout_in_minutes=20)
    print(compute_target.get_status().serialize())
# %%
from azureml.core.datastore import Datastore
from azureml.core import Workspace

account_name = "pipelinedata"
datastore_name = "mnist_datastore"
container_name = "sampledata"

mnist_data = Datastore.register_azure_blob_container(
    ws,
    datastore_name=datastore_name,
    container_name=container_name,
    account_name=account_name,
    overwrite=True,
)
def_data_store = ws.get_default_datastore()
# %%
from azureml.core.dataset import Dataset
from azureml.pipeline.core import PipelineParameter
from azureml.data.dataset_consumption_config import DatasetConsumptionConfig

mnist_ds_name = "mnist_sample_data"
path_on_datastore = mnist_data.path("mnist")
input_mnist_ds = Dataset.File.from_files(path=path_on_datastore, validate=False)
pipeline_param = PipelineParameter(name="mnist_param", default_value=input_mnist_ds)
input_mnist_ds_consumption = DatasetConsumptionConfig(
    "minist_param_config", pipeline_param
).as_mount()
# %%
from azureml.pipeline.core import Pipeline, PipelineData

output_dir = PipelineData(name="inferences", datastore=def_data_store)
# %%
import tarfile
import urllib.request

model_dir = "models"
os.makedirs(model_dir, exist_ok=True)
url = "https://pipelinedata.blob.core.windows.net/mnist-model/mnist-tf.tar.gz"
response = urllib.request.urlretrieve(url, "model.tar.gz")
tar = tarfile.open("model.tar.gz", "r:gz")
tar.extractall(model_dir)
print(os.listdir(model_dir))
# %%
from azureml.core.model import Model

model = Model.register(
    model_path="models/",
    model_name="mnist-prs",
    tags={"pretrained": "mnist"},
    description="Mnist trained tensorflow model",
    workspace=ws,
)
# %%
from azureml.core import Environment
from azureml.core.runconfig import CondaDependencies, DEFAULT_CPU_IMAGE

batch_conda_deps = CondaDependencies.create(
    python_version="3.8",
    conda_packages=[],
    pip_packages=["numpy==1.19.5", "pillow", "azureml-core", "azureml-dataset-runtime[fuse]"],
)
batch_env = Environment(name="batch_environment")
batch_env.python.conda_dependencies = batch_conda_deps
batch_env.docker.base_image = DEFAULT_CPU_IMAGE
# %%
from azureml.pipeline.core import PipelineParameter
from azureml.pipeline.steps import ParallelRunConfig, ParallelRunStep

parallel_run_config = ParallelRunConfig(
    source_directory="scripts",
    entry_script="digit_identification.py",
    mini_batch_size=PipelineParameter(name="batch_size_param", default_value="5"),
    error_threshold=10,
    output_action="append_row",
    append_row_file_name="mnist_outputs.txt",
    environment=batch_env,
    compute_target=compute_target,
    process_count_per_node=PipelineParameter(name="process_count_param", default_value=2),
    node_count=2,
)
# %%
parallelrun_step = ParallelRunStep(
    name="predict-digits-mnist",
    parallel_run_config=parallel_run_config,
    inputs=[input_mnist_ds_consumption],
    output=output_dir,
    allow_reuse=False,
)
# %%
from azureml.core import Experiment

pipeline = Pipeline(workspace=ws, steps=[parallelrun_step])
experiment = Experiment(ws, "digit_identification")
pipeline_run = experiment.submit(pipeline)
# %%
pipeline_run
# %%
pipeline_run.wait_for_completion(show_output=True)
# %%
import pandas as pd
import tempfile

batch_run = pipeline_run.find_step_run(parallelrun_step.name)[0]
batch_output = batch_run.get_output_data(output_dir.name)

target_dir = tempfile.mkdtemp()
batch_output.download(local_path=target_dir)
result_file = os.path.join(
    target_dir, batch_output.path_on_datastore, parallel_run_config.append_row_file_name
)

df = pd.read_csv(result_file, delimiter=":", header=None)
df.columns = ["Filename", "Prediction"]
print("Prediction has ", df.shape[0], " rows")
df.head(10)
# %%
path_on_datastore = mnist_data.path("mnist/0003.png")
single_image_ds = Dataset.File.from_files(path=path_on_datastore, validate=False)

pipeline_run_2 = experiment.submit(
    pipeline,
    pipeline_parameters={
        "mnist_param": single_image_ds,
        "batch_size_param": "1",
        "process_count_param": 1,
    },
)
# %%
pipeline_run_2.wait_for_completion(show_output=True)
# %%
batch_run = pipeline_run_2.find_step_run(parallelrun_step.name)[0]
batch_output = batch_run.get_output_data(output_dir.name)

target_dir = tempfile.mkdtemp()
batch_output.download(local_path=target_dir)
result_file = os.path.join(
    target_dir, batch_output.path_on_datastore, parallel_run_config.append_row_file_name
)

df2 = pd.read_csv(result_file, delimiter=":", header=None)
df2.columns = ["Filename", "Prediction"]
print("Prediction has ", df2.shape[0], " rows")
df2.head(10)
