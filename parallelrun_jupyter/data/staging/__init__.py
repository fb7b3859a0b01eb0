"""Downloads of remote files to this machine: a shared cache, and the processes that fill it."""
