"""The same user script under this project and under its alternatives.

``python -m benchmarks peers`` makes the data, runs every engine on every workload in a process of
its own, round by round, looks at each output before its time counts, and prints a table for each
workload.
"""
