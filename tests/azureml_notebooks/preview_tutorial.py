# The tutorial of January 2020, as it was when ParallelRunStep was a preview.
# %%
from azureml.core import Workspace

ws = Workspace.from_config()
# %%
import os
from azureml.core.compute import AmlCompute, ComputeTarget

# choose a name for your cluster
compute_name = os.environ.get("AML_COMPUTE_CLUSTER_NAME", "gpucluster")
compute_min_nodes = os.environ.get("AML_COMPUTE_CLUSTER_MIN_NODES", 0)
compute_max_nodes = os.environ.get("AML_COMPUTE_CLUSTER_MAX_NODES", 4)
vm_size = os.environ.get("AML_COMPUTE_CLUSTER_SKU", "STANDARD_NC6")

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
    compute_target.wait_for_completion(
        show_output=True, min_node_count=None, timeout_in_minutes=20
    )
    print(compute_target.status.serialize())
# %%
from azureml.core.datastore import Datastore

account_name = "pipelinedata"
datastore_name = "mnist_datastore"
container_name = "mnistdata"

mnist_data = Datastore.register_azure_blob_container(
    ws, datastore_name=datastore_name, container_name=container_name,
    account_name=account_name, overwrite=True,
)
def_data_store = ws.get_default_datastore()
# %%
from azureml.core.dataset import Dataset
from azureml.pipeline.core import PipelineData

mnist_ds_name = "mnist_sample_data"
path_on_datastore = mnist_data.path("mnist/")
input_mnist_ds = Dataset.File.from_files(path=path_on_datastore, validate=False)
registered_mnist_ds = input_mnist_ds.register(ws, mnist_ds_name, create_new_version=True)
named_mnist_ds = registered_mnist_ds.as_named_input(mnist_ds_name)

output_dir = PipelineData(
    name="inferences", datastore=def_data_store, output_path_on_compute="mnist/results"
)
# %%
import tarfile
import urllib.request

# create directory for model
model_dir = "models"
if not os.path.isdir(model_dir):
    os.mkdir(model_dir)

url = "https://pipelinedata.blob.core.windows.net/mnist-model/mnist-tf.tar.gz"
response = urllib.request.urlretrieve(url, "model.tar.gz")
tar = tarfile.open("model.tar.gz", "r:gz")
tar.extractall(model_dir)
os.listdir(model_dir)
# %%
from azureml.core.model import Model

# register downloaded model
model = Model.register(
    model_path="models/",
    model_name="mnist",  # this is the name the model is registered as
    tags={"pretrained": "mnist"},
    description="Mnist trained tensorflow model",
    workspace=ws,
)
# %%
from azureml.core import Environment
from azureml.core.runconfig import CondaDependencies, DEFAULT_GPU_IMAGE

batch_conda_deps = CondaDependencies.create(pip_packages=["tensorflow==1.13.1", "pillow"])
batch_env = Environment(name="batch_environment")
batch_env.python.conda_dependencies = batch_conda_deps
batch_env.docker.enabled = True
batch_env.docker.base_image = DEFAULT_GPU_IMAGE
batch_env.spark.precache_packages = False
# %%
from azureml.contrib.pipeline.steps import ParallelRunStep, ParallelRunConfig

parallel_run_config = ParallelRunConfig(
    source_directory="scripts",
    entry_script="digit_identification_tf.py",
    mini_batch_size="5",
    error_threshold=10,
    output_action="append_row",
    environment=batch_env,
    compute_target=compute_target,
    process_count_per_node=2,
    node_count=1,
)
# %%
parallelrun_step = ParallelRunStep(
    name="predict-digits-mnist",
    parallel_run_config=parallel_run_config,
    inputs=[named_mnist_ds],
    output=output_dir,
    models=[model],
    arguments=[],
    allow_reuse=True,
)
# %%
from azureml.core import Experiment
from azureml.pipeline.core import Pipeline

pipeline = Pipeline(workspace=ws, steps=[parallelrun_step])
experiment = Experiment(ws, "digit_identification")
pipeline_run = experiment.submit(pipeline)
# %%
from azureml.widgets import RunDetails

RunDetails(pipeline_run).show()
# %%
pipeline_run.wait_for_completion(show_output=True)
# %%
import pandas as pd
import shutil

# remove previous run results, if present
shutil.rmtree("mnist_results", ignore_errors=True)

batch_run = next(pipeline_run.get_children())
batch_output = batch_run.get_output_data("inferences")
batch_output.download(local_path="mnist_results")

for root, dirs, files in os.walk("mnist_results"):
    for file in files:
        if file.endswith("parallel_run_step.txt"):
            result_file = os.path.join(root, file)

# cleanup output format
df = pd.read_csv(result_file, delimiter=":", header=None)
df.columns = ["Filename", "Prediction"]
print("Prediction has ", df.shape[0], " rows")
df.head(10)
