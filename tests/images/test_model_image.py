"""Packages of a model's own serving image, resolved by uv from an index on this machine."""

import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from rich.console import Console

from images import model_image
from images.board import Board
from images.builder import Images
from images.errors import ImageError
from images.store import ImageStore
from tests.lab.fakes import FakeCommands

TITLE = "churn version 8"
WHEELS: Mapping[str, Mapping[str, list[str]]] = {
    "mlflow-skinny": {"3.0.0": [], "3.1.0": []},
    "numbers": {"1.0.0": [], "2.0.0": [], "2.1.0": []},
    "tables": {"1.0.0": ["numbers>=2"]},
    "lightgbm": {"4.0.0": []},
    "trees": {"1.0.0": ["numbers"]},
    "withdrawn": {"1.0.0": []},
}
"""Packages of the index that have wheels, with the requirements of each version."""


def wheel(name: str, version: str, needs: list[str]) -> bytes:
    content, folder = io.BytesIO(), f"{name.replace('-', '_')}-{version}.dist-info"
    requires = "".join(f"Requires-Dist: {one}\n" for one in needs)
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(f"{folder}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}")
        archive.writestr(f"{folder}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{folder}/RECORD", "")
    return content.getvalue()


@pytest.fixture(scope="module")
def index() -> Iterator[str]:
    """Yield the address of a package index; `withdrawn` is yanked, and `unbuilt` has only a source archive."""
    files = {
        f"{name.replace('-', '_')}-{version}-py3-none-any.whl": wheel(name, version, needs)
        for name, versions in WHEELS.items()
        for version, needs in versions.items()
    }
    files["unbuilt-1.0.0.tar.gz"] = b"source"

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.strip("/").rpartition("/")[2]
            found = files.get(name) or self.listing(name.replace("-", "_")).encode()
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "text/html" if name not in files else "application/octet-stream")
            self.send_header("Content-Length", str(len(found)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(found)

        def do_HEAD(self) -> None:
            self.do_GET()

        def listing(self, project: str) -> str:
            yanked = 'data-yanked="broken"' if project == "withdrawn" else ""
            return "".join(
                f'<a href="/files/{file}#sha256={hashlib.sha256(content).hexdigest()}" {yanked}>{file}</a><br>'
                for file, content in files.items()
                if file.startswith(f"{project}-")
            )

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/simple"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def checkout(index: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a repository whose serving image has MLflow, numbers 2.0.0 and LightGBM."""
    monkeypatch.setenv("UV_DEFAULT_INDEX", index)
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    folder = tmp_path / "checkout"
    (folder / "model_server").mkdir(parents=True)
    (folder / "model_server" / "requirements.in").write_text("lightgbm\nmlflow-skinny\nnumbers\n")
    pins = {"lightgbm": "4.0.0", "mlflow-skinny": "3.0.0", "numbers": "2.0.0"}
    (folder / "model_server" / "requirements.lock").write_text(
        "".join(f"{name}=={version}\n" for name, version in pins.items())
    )
    (folder / "model_server" / "Dockerfile").write_text(
        "ARG BASE\nFROM ${BASE}\nCOPY images/uv.lock model_server/requirements.lock /\nCOPY contract /app\n"
    )
    (folder / "images").mkdir()
    (folder / "images" / "uv.lock").write_text("uv==1\n")
    (folder / "onnx_estimators").mkdir()
    (folder / "contract").mkdir()
    (folder / "contract" / "names.py").write_text("NAME = 1\n")
    return folder


def test_the_image_differs_from_the_standard_one_only_where_the_version_asks_for_it(checkout: Path) -> None:
    found = model_image.resolve(["mlflow==3.1.0", "trees==1.0.0  # a comment", "# none"], checkout, TITLE)
    assert found.packages == {"mlflow-skinny": "3.0.0", "numbers": "2.0.0", "trees": "1.0.0"}
    assert found.text.count("--hash=sha256:") == 3, "the build accepts packages with a hash alone"


def test_a_version_that_needs_another_release_of_a_standard_package_gets_it(checkout: Path) -> None:
    found = model_image.resolve(["numbers==2.1.0", "lightgbm==4.0.0"], checkout, TITLE)
    assert found.packages == {"lightgbm": "4.0.0", "mlflow-skinny": "3.0.0", "numbers": "2.1.0"}


@pytest.mark.parametrize(
    ("lines", "named"),
    [
        (["numbers==1.0.0", "tables==1.0.0"], ["numbers==1.0.0", "tables==1.0.0", "numbers>=2"]),
        (["unbuilt==1.0.0"], ["unbuilt==1.0.0 has no usable wheels"]),
        (["absent==1.0.0"], ["absent was not found in the package registry"]),
    ],
)
def test_requirements_that_no_image_can_have_are_refused_with_their_names(
    checkout: Path, lines: list[str], named: list[str]
) -> None:
    with pytest.raises(ImageError) as refused:
        model_image.resolve(lines, checkout, TITLE)
    message = str(refused.value)
    assert all(one in message for one in [TITLE, "Python 3.11", *named])
    assert "\n" not in message


@pytest.mark.parametrize(
    "line", ["git+https://example.com/trees.git", "-r more.txt", "./trees.whl", "trees @ https://example.com/trees.whl"]
)
def test_a_line_that_names_no_package_of_a_registry_is_refused(checkout: Path, line: str) -> None:
    with pytest.raises(ImageError, match="is not a package of a registry") as refused:
        model_image.resolve(["trees==1.0.0", line], checkout, TITLE)
    assert repr(line) in str(refused.value)


def test_a_withdrawn_package_is_installed_with_a_warning_because_the_version_requires_it(checkout: Path) -> None:
    found = model_image.resolve(["withdrawn==1.0.0"], checkout, TITLE)
    assert found.packages["withdrawn"] == "1.0.0"
    assert [("withdrawn==1.0.0" in one, "broken" in one) for one in found.warnings] == [(True, True)]


def test_versions_with_the_same_needs_share_an_image_and_other_needs_or_another_server_make_another(
    checkout: Path, tmp_path: Path
) -> None:
    commands = FakeCommands()
    commands.answers["images --json"] = "[]"
    images = Images(
        checkout=checkout,
        store=ImageStore(tmp_path / "store", commands),
        commands=commands,
        board=Board(Console(file=io.StringIO())),
        logs=tmp_path / "logs",
        programs=tmp_path,
    )
    (tmp_path / "versitygw").write_bytes(b"binary")

    def ref(*lines: str) -> str:
        return model_image.build(model_image.resolve(lines, checkout, TITLE), images)[0]

    first = ref("trees==1.0.0")
    assert first.startswith("lab.local/serving:own-")
    assert ref("trees>=1", "mlflow==3.1.0") == first
    assert ref("numbers==2.1.0") != first
    (checkout / "contract" / "names.py").write_text("NAME = 2\n")
    assert ref("trees==1.0.0") != first
