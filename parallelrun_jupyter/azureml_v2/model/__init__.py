"""The model of Azure ML v2 jobs: plain frozen values, each of which knows its place in a file."""
