"""The generated client of a model: one file without errors of a type checker or a linter."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest

from client import columns, generate
from model_server.predict.model import Model
from model_server.predict.schema import request_schema
from model_server.predict.signature import Column, Signature
from model_server.predict.types import Kind
from tests.client.conftest import Endpoint, expected
from tests.command import Command

ROOT = Path(__file__).parent.parent.parent
PLAIN = Signature(
    columns=[
        Column(name="tenure", kind="long"),
        Column(name="charges", kind="double"),
        Column(name="active", kind="boolean"),
        Column(name="plan", kind="string", required=False),
        Column(name="since", kind="datetime"),
        Column(name="photo", kind="binary"),
        Column(name="history", kind="other"),
    ]
)
STRANGE = Signature(
    columns=[
        Column(name=name, kind="double", required=name != "class")
        for name in ("class", "Total Charges", "float", "__x", "1st", 'say "hi"', "it's", "naïve", "a\\b", "tab\t")
    ]
)
BARE = Signature(columns=[Column(name=str(place), kind="double") for place in range(3)], named=False)


ALL = {"plain": PLAIN, "strange": STRANGE, "bare": BARE}
OUTPUTS: dict[str, list[tuple[str, Kind, bool]]] = {
    "plain": [("", "string", False)],
    "strange": [("label", "long", False), ("p no", "double", False)],
    "bare": [("", "double", True)],
    "risk": [],
}


def written(signature: Signature, folder: Path, name: str = "risk") -> Path:
    takes = columns.read(request_schema(signature, f"{name} version 3", OUTPUTS[name]))
    file = folder / f"{name}.py"
    file.write_text(generate.source(takes, "http://risk.ml-serving", variable="RISK_URL", in_cluster=True))
    return file


def run(*command: object) -> None:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def loaded(file: Path) -> Any:
    spec = importlib.util.spec_from_file_location("generated", file)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def all_written(tmp_path: Path) -> list[Path]:
    return [written(signature, tmp_path, name) for name, signature in ALL.items()]


def test_it_is_formatted_and_linted_by_the_rules_of_this_project(all_written: list[Path]) -> None:
    ruff = Path(sys.executable).with_name("ruff")
    of_this_project = ("--config", ROOT / "pyproject.toml")
    run(ruff, "format", "--diff", *of_this_project, *all_written)
    run(ruff, "check", "--ignore", "INP001", *of_this_project, *all_written)  # they stand alone


@pytest.mark.long
def test_the_strict_type_checker_has_nothing_to_say(all_written: list[Path], tmp_path: Path) -> None:
    assert all_written
    (tmp_path / "pyrightconfig.json").write_text('{"typeCheckingMode": "strict"}')
    run(Path(sys.executable).with_name("pyright"), "--project", tmp_path, "--pythonpath", sys.executable)


def test_a_row_is_typed_as_the_signature_has_it(tmp_path: Path) -> None:
    row = loaded(written(PLAIN, tmp_path)).Row
    assert row.__required_keys__ == {"tenure", "charges", "active", "since", "photo", "history"}
    assert row.__optional_keys__ == {"plan"}
    assert row.__annotations__["charges"] == float | None
    assert row.__annotations__["tenure"] is int


def test_names_that_are_none_of_python_are_kept(tmp_path: Path) -> None:
    assert list(loaded(written(STRANGE, tmp_path)).Row.__annotations__) == [each.name for each in STRANGE.columns]


def test_a_prediction_is_typed_as_the_signature_has_it(tmp_path: Path) -> None:
    plain, strange, bare = (loaded(written(signature, tmp_path, name)) for name, signature in ALL.items())
    assert plain.Prediction is str
    assert strange.Prediction.__annotations__ == {"label": int, "p no": float}
    assert bare.Prediction == list[float]


def test_it_asks_the_model(risk: Endpoint, mlops: Command, rows: Path, tmp_path: Path, forest: Model) -> None:
    code, text = mlops("client", "risk", "--url", f"{risk.url}/")
    assert code == 0, text
    file = tmp_path / "risk.py"
    file.write_text(text)
    module, table = loaded(file), pd.read_csv(rows)
    with module.connect() as http:
        said = module.predict(table.to_dict("records"), http)
        with pytest.raises(httpx.HTTPStatusError, match="Model is missing inputs"):
            module.predict([{"a": 1.0}], http)
    assert said == expected(forest, table.to_numpy().tolist())


def test_a_client_made_through_the_cluster_says_where_its_address_holds_and_takes_another(
    world: Path, risk: Endpoint, mlops: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (world / "address").write_text(f"127.0.0.1:{risk.port}")
    code, said = mlops("client", "risk")
    assert code == 0, said
    text, _, note = said.partition("mlops: ")
    assert "its address inside the cluster" in text
    assert "which works inside the cluster only; elsewhere set RISK_URL" in note
    file = tmp_path / "risk.py"
    file.write_text(text)
    assert loaded(file).URL == "http://risk.ml-serving"
    monkeypatch.setenv("RISK_URL", risk.url)
    module = loaded(file)
    with module.connect() as http:
        assert len(module.predict([{"a": 1.0, "b": 2, "c": 3.0, "d": 4}], http)) == 1


def test_it_asks_a_model_of_bare_numbers(bare: Endpoint, mlops: Command, tmp_path: Path) -> None:
    file = tmp_path / "line.py"
    file.write_text(mlops("client", "risk", "--url", bare.url)[1])
    module = loaded(file)
    with module.connect() as http:
        (one,) = module.predict([(1.0, 2.0, 3.0, 4.0)], http)
    assert isinstance(one, float)
