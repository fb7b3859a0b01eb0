# Rows by a pickled model, which a second datastore holds.
# %%
import os
from azureml.core import Workspace
from azureml.core.compute import AmlCompute, ComputeTarget

ws = Workspace.from_config()
compute_name = os.environ.get("AML_COMPUTE_CLUSTER_NAME", "cpu-cluster")
if compute_name not in ws.compute_targets:
    provisioning_config = AmlCompute.provisioning_configuration(
        vm_size="STANDARD_D2_V2", min_nodes=0, max_nodes=2
    )
    ComputeTarget.create(ws, compute_name, provisioning_config)
compute_target = ws.compute_targets[compute_name]
# %%
from azureml.core.datastore import Datastore

account_name = "pipelinedata"
datastore_name = "iris_datastore_data"
container_name = "irissample"

iris_data = Datastore.register_azure_blob_container(
    ws, datastore_name=datastore_name, container_name=container_name,
    account_name=account_name, overwrite=True,
)
def_data_store = ws.get_default_datastore()
# %%
from azureml.core.dataset import Dataset

iris_ds_name = "iris_data"
path_on_datastore = iris_data.path("iris/")
input_iris_ds = Dataset.Tabular.from_delimited_files(path=path_on_datastore, validate=False)
named_iris_ds = input_iris_ds.as_named_input(iris_ds_name)
input_iris_ds.take(3).to_pandas_dataframe()
# %%
from azureml.pipeline.core import PipelineData

output_folder = PipelineData(name="inferences", datastore=def_data_store)
# %%
model_datastore_name = "iris_model_datastore"
model_datastore = Datastore.register_azure_blob_container(
    ws, model_datastore_name, "iris-model", account_name, overwrite=True
)
model_datastore.download("iris_model.pkl")
# %%
from azureml.core.model import Model

model = Model.register(
    model_path="iris_model.pkl/iris_model.pkl",
    model_name="iris-prs",
    tags={"pretrained": "iris"},
    workspace=ws,
)
print(Model.get_model_path("iris-prs", _workspace=ws))
# %%
from azureml.core import Environment
from azureml.core.runconfig import CondaDependencies

predict_conda_deps = CondaDependencies.create(
    python_version="3.8", conda_packages=[], pin_sdk_version=False,
    pip_packages=["numpy==1.19.5", "pandas==1.4.4", "scikit-learn==0.22.2", "azureml-core",
                  "azureml-dataset-runtime[pandas,fuse]"],
)
predict_env = Environment(name="predict_environment")
predict_env.python.conda_dependencies = predict_conda_deps
predict_env.spark.precache_packages = False
# %%
from azureml.pipeline.core import PipelineParameter
from azureml.pipeline.steps import ParallelRunConfig, ParallelRunStep

parallel_run_config = ParallelRunConfig(
    source_directory="scripts",
    entry_script="iris_score.py",
    mini_batch_size="1KB",
    error_threshold=5,
    output_action="append_row",
    append_row_file_name="iris_outputs.txt",
    environment=predict_env,
    compute_target=compute_target,
    node_count=1,
    run_invocation_timeout=600,
)
distributed_csv_iris_step = ParallelRunStep(
    name="example-iris",
    inputs=[named_iris_ds],
    output=output_folder,
    parallel_run_config=parallel_run_config,
    arguments=["--model_name", "iris-prs"],
    allow_reuse=False,
)
# %%
from azureml.core import Experiment
from azureml.pipeline.core import Pipeline

pipeline = Pipeline(workspace=ws, steps=[distributed_csv_iris_step])
pipeline_run = Experiment(ws, "iris-prs").submit(pipeline)
pipeline_run.wait_for_completion(show_output=True)
# %%
import pandas as pd
import tempfile

prediction_run = pipeline_run.find_step_run(distributed_csv_iris_step.name)[0]
prediction_output = prediction_run.get_output_data(output_folder.name)

target_dir = "out"
prediction_output.download(local_path=target_dir)
result_file = os.path.join(
    target_dir, prediction_output.path_on_datastore, parallel_run_config.append_row_file_name
)
df = pd.read_csv(result_file, delimiter=" ", header=None)
df.columns = ["sepal.length", "sepal.width", "petal.length", "petal.width", "variety"]
print("Prediction has ", df.shape[0], " rows")
df.to_csv("predictions.csv", index=False)
