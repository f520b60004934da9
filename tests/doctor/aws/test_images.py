"""Architecture of images in ECR."""

import json
from pathlib import Path

import pytest

from doctor.aws.images import images
from doctor.findings import Level
from infra.config.aws import AwsFoundation
from tests.doctor.aws_double import HEALTHY, Cloud, manifest
from tests.doctor.stacks import stack


@pytest.mark.parametrize(("architecture", "level"), [("amd64", Level.OK), ("arm64", Level.PROBLEM)])
def test_the_architecture_of_an_image_without_an_index_is_in_its_configuration(
    architecture: str, level: Level, tmp_path: Path
) -> None:
    digest = f"sha256:{'0' * 64}"
    layer = {"downloadUrl": "https://layer.example", "layerDigest": digest}
    responses = {**HEALTHY, **manifest(json.dumps({"config": {"digest": digest}})), "ecr:GetDownloadUrlForLayer": layer}
    prod = stack(tmp_path, {})
    assert isinstance(prod.settings.foundation, AwsFoundation)
    fetched = list[str]()

    def fetch(url: str) -> bytes:
        fetched.append(url)
        return json.dumps({"architecture": architecture}).encode()

    found = list(images(Cloud(responses).aws, prod, prod.settings.foundation, fetch))
    assert [each.level for each in found] == [level] * 3
    assert set(fetched) == {"https://layer.example"}
