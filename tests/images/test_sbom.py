"""Bills of materials of the images."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest

from images.errors import ImageError
from images.sbom import sbom

ROOT = Path(__file__).parent.parent.parent
IMAGES = {"mlflow": "images/mlflow", "training": "training", "serving": "model_server", "envoy": "images/envoy"}


def components(image: str) -> list[dict[str, Any]]:
    return cast("list[dict[str, Any]]", sbom(image, ROOT)["components"])


@pytest.mark.parametrize("image", IMAGES)
def test_it_has_every_package_of_the_images_list_with_each_hash(image: str) -> None:
    text = (ROOT / IMAGES[image] / "requirements.lock").read_text()
    found = components(image)
    assert len(found) == text.count("==")
    assert sum(len(each["externalReferences"]) for each in found) == text.count("--hash=sha256:")
    assert len({each["bom-ref"] for each in found}) == len(found)
    for each in found:
        assert f"{each['name']}=={each['version']} " in text


def test_the_same_list_gives_the_same_document_and_another_list_another_number() -> None:
    assert sbom("training", ROOT) == sbom("training", ROOT)
    assert sbom("training", ROOT)["serialNumber"] != sbom("serving", ROOT)["serialNumber"]


@pytest.mark.parametrize("image", ["postgres", "nothing"])
def test_an_image_without_a_list_is_refused_and_those_with_one_are_named(image: str) -> None:
    with pytest.raises(ImageError, match=f"image {image}: only mlflow, training, serving, envoy have one"):
        sbom(image, ROOT)


def test_the_command_prints_json_or_ends_with_one_line() -> None:
    lab = Path(sys.executable).parent / "lab"
    done = subprocess.run([lab, "sbom", "serving"], cwd=ROOT, check=True, capture_output=True, text=True)
    assert json.loads(done.stdout)["bomFormat"] == "CycloneDX"
    wrong = subprocess.run([lab, "sbom", "nothing"], cwd=ROOT, check=False, capture_output=True, text=True)
    assert wrong.returncode != 0
    assert "There is no list of Python packages for the image nothing" in wrong.stderr
