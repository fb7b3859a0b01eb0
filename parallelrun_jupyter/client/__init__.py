"""The API of a run: submit, wait, cancel, resume, read results and failures, try one mini-batch."""
