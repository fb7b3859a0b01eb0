"""Engines for calls that wait for a server: ``run(workload, results, is_again=...)``.

With ``is_again`` all processes have been killed at half, and the engine is started again in the same folder.
"""
