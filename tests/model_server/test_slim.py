"""Environment of the serving image, built here as in the Dockerfile."""

import ctypes
import json
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pandas as pd
import pytest

from model_server import slim
from tests.model_server.zoo import ensembles, save_sklearn, table

ROOT = Path(__file__).parents[2]
IMAGE = 640_000_000  # bytes; what the serving image may have
BASE = 190_000_000  # bytes; what the lab's base has of them
ASK = """
import json, os, sys
from pathlib import Path
from itertools import chain
from model_server.predict import model
from model_server.predict.scoring import Request, score, score_by_mlflow

folder = Path(sys.argv[1])
loaded = model.load(folder / "model", "forest")
bodies = {"json": "application/json", "csv": "text/csv", "parquet": "application/vnd.apache.parquet"}
said = []
for kind, content_type in bodies.items():
    request = Request(content_type=content_type, body=(folder / f"rows.{kind}").read_bytes(), request_id="x")
    left = []
    list(chain(score(loaded, left.append, [request]), score_by_mlflow(loaded, left)))
    said.append([request.response.status, request.response.body.decode()])
print(json.dumps(said), flush=True)
os._exit(0)  # PyArrow can abort at the end of an interpreter that has just read Parquet from memory
"""


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """Return a copy of an extension module that has symbols."""
    name = f"_core{sysconfig.get_config_var('EXT_SUFFIX')}"
    return Path(shutil.copy(Path(sysconfig.get_path("platlib")) / "msgspec" / name, tmp_path / name))


def test_a_library_without_its_symbols_is_smaller_and_still_loads(library: Path) -> None:
    whole = library.read_bytes()
    library.write_bytes(slim.loaded(whole))
    assert library.stat().st_size < len(whole)
    assert hasattr(ctypes.PyDLL(str(library)), "PyInit__core")


def test_what_is_no_library_stays_as_it_is() -> None:
    assert slim.loaded(b"INPUT(libx.so.1)") == b"INPUT(libx.so.1)"


def test_one_of_several_equal_libraries_is_left_and_the_others_lead_to_it(tmp_path: Path) -> None:
    names = ("libx.so", "libx.so.1", "liby.so")
    for name, content in zip(names, (b"x", b"x", b"y"), strict=True):
        (tmp_path / name).write_bytes(content)
    slim.link_twins([tmp_path / name for name in names])
    assert [(tmp_path / name).is_symlink() for name in names] == [False, True, False]
    assert [(tmp_path / name).read_bytes() for name in names] == [b"x", b"x", b"y"]


@pytest.mark.long
def test_the_images_environment_is_small_and_answers_every_kind_of_body_as_a_whole_one_does(tmp_path: Path) -> None:
    save_sklearn(tmp_path / "model", ensembles.RandomForestClassifier(5, random_state=1))
    rows: pd.DataFrame = table(3)[0]
    split = {"columns": list(rows.columns), "data": rows.to_numpy(dtype=object).tolist()}
    (tmp_path / "rows.json").write_text(json.dumps({"dataframe_split": split}))
    rows.to_csv(tmp_path / "rows.csv", index=False)
    rows.to_parquet(tmp_path / "rows.parquet")
    python = tmp_path / "venv" / "bin" / "python"
    uv = str(Path(sys.executable).parent / "uv")
    for command in (
        [uv, "venv", "--quiet", "--python", sys.executable, str(tmp_path / "venv")],
        [uv, "pip", "install", "--quiet", "--link-mode", "copy", "--python", str(python), "--no-deps",
         "--require-hashes", "--requirement", "model_server/requirements.lock"],
        [str(python), "model_server/slim.py"],
    ):  # fmt: skip
        subprocess.run(command, cwd=ROOT, check=True)
    said = [
        subprocess.run(
            [who, "-c", ASK, str(tmp_path)], cwd=ROOT, check=True, capture_output=True, text=True
        ).stdout.splitlines()[-1]
        for who in (str(python), sys.executable)
    ]
    assert said[0] == said[1]
    assert [status for status, _ in json.loads(said[0])] == [200, 200, 200]
    files = (path for path in (tmp_path / "venv").rglob("*") if path.is_file() and not path.is_symlink())
    assert sum(path.stat().st_size for path in files) < IMAGE - BASE
