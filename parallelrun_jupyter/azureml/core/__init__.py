"""Azure's core names: workspaces, environments, computes, models, datastores."""
