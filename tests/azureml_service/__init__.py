"""An emulator of Azure Machine Learning, for tests: see README.md in this folder."""
