"""Models of the tests' own, in the registry of the lab."""

import os
import subprocess
import sys
from collections.abc import Sequence

from lab import stores

REGISTER = """
import sys

import mlflow
import pandas as pd
from mlflow.models import infer_signature

{source}

example = pd.DataFrame({example})
made = {{"signature": infer_signature(example, [0]), "input_example": example, "pip_requirements": {packages}}}
said = mlflow.pyfunc.log_model(name="model", python_model=Model(), registered_model_name="{name}", **made)
print(said.registered_model_version)
"""


def register(name: str, source: str, example: dict[str, list[int | float]], packages: Sequence[str] = ()) -> str:
    """The version that `source`, which makes a PythonModel called Model, has from now on; `example` is a calm row."""
    script = REGISTER.format(source=source, example=example, name=name, packages=[*packages])
    known = {**os.environ, **stores.environment()}
    registered = subprocess.run(
        [sys.executable, "-c", script], env=known, capture_output=True, text=True, timeout=300, check=False
    )
    assert registered.returncode == 0, registered.stderr
    return registered.stdout.splitlines()[-1]
