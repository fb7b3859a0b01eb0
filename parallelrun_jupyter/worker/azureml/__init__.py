"""Serves ``azureml`` and ``azureml_user`` to scripts."""
