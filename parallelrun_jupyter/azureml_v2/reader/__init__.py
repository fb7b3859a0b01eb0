"""The reader of job files and components: YAML with places into the model, with all problems."""
