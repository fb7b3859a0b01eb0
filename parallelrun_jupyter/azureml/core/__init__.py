"""Azure's core names: workspaces, environments, compute targets, models, datastores."""
