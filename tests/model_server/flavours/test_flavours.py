"""Models of every flavour: the server in an environment with an image's packages, beside `mlflow models serve`."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest

from images import model_image

pytestmark = pytest.mark.nightly

ROOT = Path(__file__).parents[3]
UV = Path(sys.prefix) / "bin" / "uv"
FLAVOURS = ["sklearn", "lightgbm", "xgboost", "catboost", "statsmodels", "onnx", "pyfunc", "from-code"]
PATIENCE = 300
"""Seconds within which both servers must respond."""
PACKAGES = ["catboost", "lightgbm", "onnx", "onnxruntime", "skl2onnx", "statsmodels", "xgboost-cpu"]
THREADS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "_MLFLOW_IS_IN_SERVING_ENVIRONMENT": "true"}

OWN_CODE = '''
def twice(values):
    """Return each value twice as large."""
    return [2 * value for value in values]
'''
FROM_CODE = """
import mlflow
from mlflow.pyfunc import PythonModel


class Rounded(PythonModel):
    def load_context(self, context):
        from catboost import CatBoostRegressor

        self.model = CatBoostRegressor().load_model(context.artifacts["booster"])

    def predict(self, context, model_input, params=None):
        return [round(float(value), 3) for value in self.model.predict(model_input)]


mlflow.models.set_model(Rounded())
"""
MAKE = """
import sys
from pathlib import Path

import catboost
import lightgbm
import mlflow
import numpy as np
import pandas as pd
import statsmodels.api as sm
import xgboost
from mlflow.models import infer_signature
from skl2onnx import to_onnx
from sklearn.linear_model import LogisticRegression

class Doubled(mlflow.pyfunc.PythonModel):
    def load_context(self, context):
        self.weights = np.load(context.artifacts["weights"])

    def predict(self, context, model_input, params=None):
        from own_code import twice

        return twice((model_input.to_numpy(dtype=float) @ self.weights).tolist())


def main(folder: Path) -> None:
    rng = np.random.default_rng(7)
    rows = pd.DataFrame({"a": rng.normal(size=300), "b": rng.integers(0, 50, size=300), "c": rng.exponential(size=300)})
    amount = rows.a + rows.c - rows.b / 30 + rng.normal(scale=0.3, size=300)
    label = (amount > 0).astype(int)
    floats = rows.astype(np.float32)
    booster = catboost.CatBoostRegressor(iterations=20, verbose=0, allow_writing_files=False).fit(rows, amount)
    np.save(folder / "weights.npy", np.array([0.5, -0.03, 1.1]))
    booster.save_model(str(folder / "booster.cbm"))
    linear = to_onnx(LogisticRegression().fit(floats, label), floats.to_numpy()[:1], options={"zipmap": False})
    models = {
        "sklearn": (mlflow.sklearn, "sk_model", LogisticRegression().fit(rows, label)),
        "lightgbm": (
            mlflow.lightgbm,
            "lgb_model",
            lightgbm.LGBMRegressor(n_estimators=20, verbose=-1).fit(rows, amount),
        ),
        "xgboost": (mlflow.xgboost, "xgb_model", xgboost.XGBRegressor(n_estimators=20).fit(rows, amount)),
        "catboost": (mlflow.catboost, "cb_model", booster),
        "statsmodels": (mlflow.statsmodels, "statsmodels_model", sm.OLS(amount, rows.astype(float)).fit()),
        "onnx": (mlflow.onnx, "onnx_model", linear),
    }
    sys.path.insert(0, str(folder))
    for name, (flavour, keyword, model) in models.items():
        given = floats if name == "onnx" else rows
        about = {"signature": infer_signature(given, None), "pip_requirements": []}
        flavour.save_model(path=str(folder / name / "1"), **{keyword: model}, **about)
    about = {"signature": infer_signature(rows, None), "pip_requirements": []}
    mlflow.pyfunc.save_model(
        path=str(folder / "pyfunc" / "1"),
        python_model=Doubled(),
        code_paths=[str(folder / "own_code.py")],
        artifacts={"weights": str(folder / "weights.npy")},
        **about,
    )
    mlflow.pyfunc.save_model(
        path=str(folder / "from-code" / "1"),
        python_model=str(folder / "from_code.py"),
        artifacts={"booster": str(folder / "booster.cbm")},
        **about,
    )
    rows.to_csv(folder / "rows.csv", index=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
"""
"""Script that saves one model of each flavour below a folder; it needs the packages of all of them."""


@dataclass(frozen=True)
class World:
    """Two environments, and the folder of the models."""

    server: Path
    """Python with the packages that `mlops image` resolves for the models, and no others."""
    mlflow: Path
    """Python with MLflow and the same packages."""
    models: Path


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Return both environments and models of all flavours, which the second environment saved."""
    folder = tmp_path_factory.mktemp("flavours")
    found = model_image.resolve(PACKAGES, ROOT, "a model of every flavour")
    (folder / "image.lock").write_text(found.text)
    pins = "\n".join(f"{name}=={version}" for name, version in found.packages.items())
    (folder / "pins.txt").write_text(pins)
    version = found.packages["mlflow-skinny"]
    made = World(
        _environment(folder / "server", "--no-deps", "--require-hashes", "--requirement", str(folder / "image.lock")),
        _environment(folder / "mlflow", f"mlflow=={version}", *PACKAGES, "--constraint", str(folder / "pins.txt")),
        folder / "models",
    )
    made.models.mkdir()
    for name, text in {"own_code": OWN_CODE, "from_code": FROM_CODE, "make": MAKE}.items():
        (made.models / f"{name}.py").write_text(text)
    subprocess.run([made.mlflow, "make.py", str(made.models)], cwd=made.models, check=True, capture_output=True)
    return made


def _environment(folder: Path, *packages: str) -> Path:
    python = folder / "bin" / "python"
    subprocess.run([UV, "venv", "--quiet", "--python", sys.executable, str(folder)], check=True)
    subprocess.run([UV, "pip", "install", "--quiet", "--python", str(python), *packages], check=True)
    return python


@contextmanager
def running(command: Sequence[str | Path], environment: Mapping[str, str], url: str) -> Generator[None]:
    """Run a server until the block ends; the block begins when it responds to /ping."""
    process = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **THREADS, **environment}, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + PATIENCE
        while not _pings(url):
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.2)
            assert process.poll() is None, f"{command[-1]} ended"
            assert time.monotonic() < deadline, f"{url} does not respond"
        yield
    finally:
        os.killpg(process.pid, 9)
        process.wait()


def _pings(url: str) -> bool:
    try:
        return httpx.get(f"{url}/ping").is_success
    except httpx.HTTPError:
        return False


def _port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def bodies(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Return bodies in each form, and some that no model accepts."""
    part = rows.astype(object)
    columns, data = [*part.columns], part.to_numpy().tolist()
    records = part.to_dict(orient="records")
    return [
        {"dataframe_split": {"columns": columns, "data": data}},
        {"dataframe_split": {"columns": columns, "data": data[:1]}},
        {"dataframe_split": {"columns": columns[::-1], "data": [row[::-1] for row in data[:5]]}},
        {"dataframe_split": {"columns": columns, "data": data[:3], "index": [7, 8, 9]}},
        {"dataframe_records": records[:20]},
        {"inputs": {name: [row[name] for row in records[:4]] for name in columns}},
        {"instances": records[:4]},
        {"dataframe_records": [{"a": 1.0}]},
        {"dataframe_records": [{**records[0], "b": "text"}]},
        {"nothing": []},
    ]


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_every_flavour_is_served_as_mlflow_serves_it(world: World, flavour: str) -> None:
    ours, theirs = _port(), _port()
    folder = world.models / flavour / "1"
    settings = {
        "MODEL": flavour, "MODEL_VERSION": "1", "MODEL_DIR": str(world.models), "HOST": "127.0.0.1",
        "PORT": str(ours), "THREADS": "1",
    }  # fmt: skip
    serve = ["models", "serve", "-m", str(folder), "--env-manager", "local", "-h", "127.0.0.1", "-p", str(theirs)]
    on_path = {"PATH": f"{world.mlflow.parent}{os.pathsep}{os.environ['PATH']}"}
    with (
        running([world.server, "-m", "model_server.server"], settings, f"http://127.0.0.1:{ours}"),
        running([world.mlflow, "-m", "mlflow", *serve], on_path, f"http://127.0.0.1:{theirs}"),
    ):
        for body in bodies(pd.read_csv(world.models / "rows.csv")):
            replies = [
                httpx.post(f"http://127.0.0.1:{port}/invocations", json=body, timeout=60) for port in (ours, theirs)
            ]
            said = json.dumps(body)[:200]
            assert replies[0].status_code == replies[1].status_code, (said, replies[0].text, replies[1].text)
            if replies[1].is_success:
                assert replies[0].json() == replies[1].json(), said
