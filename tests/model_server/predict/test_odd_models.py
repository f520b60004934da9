"""Models that fail in unusual ways: the request gets an error, and the server answers the next one."""

import asyncio
import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Protocol, cast

import httpx
import mlflow.pyfunc
import pandas as pd
import pytest
from mlflow.models import ModelSignature
from mlflow.types.schema import ColSpec, Schema

from model_server import app
from model_server.predict import model
from model_server.settings import ServerSettings
from tests.model_server.conversation import talk
from tests.projects import CHECKOUT

ODD = '''
import sys
import threading

import mlflow
import numpy as np
import pandas as pd
from mlflow.pyfunc import PythonModel


class Odd(PythonModel):
    """Does what it is asked to."""

    def predict(self, context, model_input: pd.DataFrame, params=None):
        what = model_input["what"][0]
        self.asked = getattr(self, "asked", 0) + 1
        if what == "how often":
            return [self.asked]
        if what == "a circle":
            circle = []
            circle.append(circle)
            return circle
        if what == "raise":
            raise ValueError("no such thing")
        if what == "leave":
            sys.exit(3)
        if what == "recurse":
            return self.predict(context, model_input)
        return {
            "good": ["fine"],
            "nothing": None,
            "too few": [],
            "too many": [1, 2, 3],
            "not a number": np.array([float("nan"), float("inf")]),
            "an object": [object()],
            "a lock": threading.Lock(),
        }[what]


mlflow.models.set_model(Odd())
'''


PRICED = """
import mlflow
from mlflow.pyfunc import PythonModel
from {package}.rules import PRICE


class Priced(PythonModel):
    def predict(self, context, model_input, params=None):
        return [PRICE] * len(model_input)


mlflow.models.set_model(Priced())
"""
SAVE = """
import os
from pathlib import Path

import mlflow.pyfunc
from mlflow.models import ModelSignature
from mlflow.types.schema import ColSpec, Schema

folder = Path(os.environ["FOLDER"])
mlflow.pyfunc.save_model(
    str(folder / "priced" / "1"),
    python_model=str(folder / "priced.py"),
    code_paths=[os.environ["OWN"]],
    signature=ModelSignature(Schema([ColSpec("string", "what")])),
    pip_requirements=[],
)
"""
ASK = """
from model_server import app
from model_server.predict import model
from model_server.settings import ServerSettings
from tests.model_server.conversation import talk

settings = ServerSettings.load()
server = app.Server(model.load(settings.version_dir, settings.title), settings)
print(talk(server, lambda client: client.post("/invocations", json={"instances": [{"what": "it"}]})).text)
"""


class _Pyfunc(Protocol):
    def save_model(self, path: str, **more: object) -> None: ...


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("odd")
    (folder / "odd.py").write_text(ODD)
    signature = ModelSignature(Schema([ColSpec("string", "what")]))
    cast("_Pyfunc", mlflow.pyfunc).save_model(
        str(folder / "odd" / "1"),
        python_model=str(folder / "odd.py"),
        signature=signature,
        input_example=pd.DataFrame({"what": ["good"]}),
        pip_requirements=[],
    )
    return folder


@pytest.fixture
def server(folder: Path, monkeypatch: pytest.MonkeyPatch) -> app.Server:
    for name, value in {"MODEL": "odd", "MODEL_VERSION": "1", "MODEL_DIR": str(folder), "THREADS": "1"}.items():
        monkeypatch.setenv(name, value)
    settings = ServerSettings.load()
    return app.Server(model.load(settings.version_dir, settings.title), settings)


def ask(server: app.Server, *whats: str) -> list[httpx.Response]:
    async def run() -> list[httpx.Response]:
        server.start()
        transport = httpx.ASGITransport(cast("Any", server))
        async with httpx.AsyncClient(transport=transport, base_url="http://odd") as client:
            said = [await client.post("/invocations", json={"instances": [{"what": what}]}) for what in whats]
        server.stop()
        return said

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("what", "status", "code"),
    [
        ("raise", 400, "BAD_REQUEST"),
        ("recurse", 400, "BAD_REQUEST"),
        ("leave", 500, "INTERNAL_ERROR"),
        ("an object", 500, "INTERNAL_ERROR"),
        ("a lock", 500, "INTERNAL_ERROR"),
        ("a circle", 500, "INTERNAL_ERROR"),
    ],
)
def test_a_model_that_fails_fails_its_own_request_alone(
    server: app.Server, what: str, status: int, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    said, after = ask(server, what, "good")
    assert (said.status_code, said.json()["error_code"]) == (status, code)
    assert "Traceback" not in said.text
    assert len(caplog.records) == 1
    assert (after.status_code, after.json()) == (200, {"predictions": ["fine"]})


@pytest.mark.parametrize(("what", "predictions"), [("nothing", None), ("too few", []), ("too many", [1, 2, 3])])
def test_an_answer_of_another_shape_is_passed_on_as_mlflow_does(
    server: app.Server, what: str, predictions: object
) -> None:
    said, after = ask(server, what, "good")
    assert (said.status_code, json.loads(said.content)) == (200, {"predictions": predictions})
    assert after.status_code == 200


@pytest.mark.parametrize("what", ["good", "raise", "an object", "a circle"])
def test_a_model_is_asked_once_whatever_it_does(server: app.Server, what: str) -> None:
    first, *_, last = ask(server, "how often", what, "how often")
    assert last.json()["predictions"][0] - first.json()["predictions"][0] == 2


@pytest.mark.parametrize("what", ["an object", "a lock", "a circle"])
@pytest.mark.parametrize("more", [{}, {"params": {"k": 1}}], ids=["plain", "left to MLflow"])
def test_an_answer_that_cannot_be_written_is_the_models_fault(
    server: app.Server, what: str, more: dict[str, Any]
) -> None:
    said = talk(server, lambda client: client.post("/invocations", json={"instances": [{"what": what}], **more}))
    assert said.status_code == 500
    assert said.json()["message"].startswith("The prediction cannot be written as JSON (")


def test_what_is_not_a_number_is_written_as_mlflow_writes_it(server: app.Server) -> None:
    assert ask(server, "not a number")[0].text == '{"predictions": [NaN, Infinity]}'


@pytest.mark.parametrize("package", ["serving", "contract"])
def test_a_model_may_bring_a_package_of_any_name(package: str, tmp_path: Path) -> None:
    own = tmp_path / "code" / package
    own.mkdir(parents=True)
    (own / "__init__.py").touch()
    (own / "rules.py").write_text("PRICE = 42\n")
    (tmp_path / "priced.py").write_text(PRICED.format(package=package))
    in_a_process(SAVE, own.parent, FOLDER=str(tmp_path), OWN=str(own))
    served = in_a_process(ASK, CHECKOUT, MODEL="priced", MODEL_VERSION="1", MODEL_DIR=str(tmp_path), THREADS="1")
    assert '{"predictions": [42]}' in served


def in_a_process(code: str, folder: Path, **environment: str) -> str:
    """Run the code in a new process that finds packages in the folder first. Return its output."""
    command, variables = [sys.executable, "-c", code], os.environ | environment
    run = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)
    assert not run.returncode, run.stderr
    return run.stdout
