"""The names of azureml and azureml_user in scripts."""
