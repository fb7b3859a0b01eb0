"""Builds the environments of all tests at once: ``python -m tests.environments``.

`make test` does this in the background from its start, since most of the time goes into downloads. A test
that needs an environment waits for it; if it could not be built, the test tries again and reports why.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from tests import (
    azure_ai_ml,
    front_end_environment,
    mlflow_environment,
    pandas_environments,
    wheel_environments,
)


def main() -> None:
    """Build the missing ones."""
    with ThreadPoolExecutor() as threads:
        threads.submit(azure_ai_ml.python_with_azure_ai_ml)
        threads.submit(mlflow_environment.python_with_mlflow)
        threads.submit(front_end_environment.python_with_front_ends)
        pandas_environments.build(pandas_environments.environments())
        with wheel_environments.built():  # for its downloads: the test makes them again
            pass


if __name__ == "__main__":
    main()
