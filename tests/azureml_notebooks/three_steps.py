# A script that prepares files, a step over these files, and a script that joins the results.
# %%
from azureml.core import Dataset, Environment, Experiment, Model, Workspace
from azureml.core.compute import AmlCompute, ComputeTarget
from azureml.core.compute_target import ComputeTargetException
from azureml.core.conda_dependencies import CondaDependencies
from azureml.core.runconfig import DEFAULT_CPU_IMAGE, RunConfiguration
from azureml.data import OutputFileDatasetConfig
from azureml.pipeline.core import Pipeline, PublishedPipeline
from azureml.pipeline.core.graph import PipelineParameter
from azureml.pipeline.steps import ParallelRunConfig, ParallelRunStep, PythonScriptStep

ws = Workspace.from_config()
# %%
try:
    cpu_cluster = AmlCompute(ws, "cpu-cluster")
    print("found existing cluster.")
except ComputeTargetException:
    print("creating new cluster")
    provisioning_config = AmlCompute.provisioning_configuration(
        vm_size="STANDARD_D2_v2", max_nodes=1
    )
    cpu_cluster = ComputeTarget.create(ws, "cpu-cluster", provisioning_config)
    cpu_cluster.wait_for_completion(show_output=True)
# %%
model = Model.register(
    workspace=ws, model_path="style.json", model_name="style", tags={"style": "candy"}
)
print([m.name for m in Model.list(workspace=ws, tags=[["style", "candy"]])])
# %%
video = Dataset.File.from_files(
    (ws.get_default_datastore().upload_files(["video.txt"], target_path="video", overwrite=True)),
    validate=True,
)
style_param = PipelineParameter(name="style", default_value="candy")
frames = OutputFileDatasetConfig(name="frames")
processed = OutputFileDatasetConfig(name="processed").register_on_complete(name="processed-frames")
joined = OutputFileDatasetConfig(name="joined")
cd = CondaDependencies()
cd.add_channel("conda-forge")
cd.add_conda_package("ffmpeg==4.0.2")
amlcompute_run_config = RunConfiguration(conda_dependencies=cd)
amlcompute_run_config.environment.docker.base_image = DEFAULT_CPU_IMAGE
split_step = PythonScriptStep(
    name="split video",
    script_name="split.py",
    arguments=["--input", video.as_named_input("video").as_mount(), "--frames", frames],
    compute_target=cpu_cluster,
    runconfig=amlcompute_run_config,
    source_directory="scripts",
)
# %%
env = Environment(name="style-env")
env.python.conda_dependencies = CondaDependencies()
env.python.conda_dependencies.add_pip_package("pillow")
parallel_run_config = ParallelRunConfig(
    environment=env,
    entry_script="style.py",
    output_action="summary_only",
    mini_batch_size="2",
    error_threshold=1,
    source_directory="scripts",
    compute_target=cpu_cluster,
    node_count=1,
    process_count_per_node=2,
)
style_step = ParallelRunStep(
    name="style-transfer",
    inputs=[frames.as_input("frames")],
    output=processed,
    arguments=["--style", style_param],
    parallel_run_config=parallel_run_config,
)
# %%
join_step = PythonScriptStep(
    script_name="join.py",
    name="join",
    arguments=["--frames", processed.as_input(), "--output", joined],
    compute_target=cpu_cluster,
    source_directory="scripts",
)
pipeline = Pipeline(workspace=ws, steps=[join_step])
pipeline.validate()
# %%
pipeline_run = Experiment(ws, "style_transfer").submit(pipeline)
pipeline_run.wait_for_completion()
# %%
step = pipeline_run.find_step_run("join")[0]
output = step.get_details()["outputDatasets"][0]["dataset"].download(
    target_path="joined", overwrite=True
)
print("joined:", open(output[0]).read())
print("metrics:", step.get_metrics())
print("steps:", [s.name for s in pipeline_run.get_steps()])
print("registered:", sorted(ws.datasets["processed-frames"].to_path()))
# %%
again = Experiment(ws, "style_transfer").submit(pipeline, pipeline_parameters={"style": "mosaic"})
again.wait_for_completion(show_output=False)
print("reused:", [(s.name, s.is_reused) for s in again.get_steps()])
again.find_step_run("join")[0].get_output_data("joined").download("again")
# %%
published = pipeline.publish(name="style transfer", description="candy", version="1.0")
print(published.name in [p.name for p in PublishedPipeline.list(ws)])
