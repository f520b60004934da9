"""Serving image of a version, and what the gate says about it."""

import pytest

from model_preview import images
from model_preview.preview import preview, sections
from model_preview.verdict import Code, Gate
from tests.model_preview.examples import IMAGE, MODEL, champion, facts, release, version

STANDARD = "registry.example.com/mlops/serving:1.0.0"
OWN = f"registry.example.com/mlops/serving@sha256:{'a' * 64}"
NEEDS = ("numpy==2.4.6", "torch==2.15.0")


def answer(key: str, recorded: str = "", needs: tuple[str, ...] = NEEDS) -> tuple[list[Code], str, list[str]]:
    """Return the reasons of the gate, the image that the preview names, and the commands of the reasons."""
    new = version(8, requirements=needs, serving_image=recorded)
    gate = Gate(protected=True, image=key, standard_image=STANDARD)
    found = preview(release(7, 8), facts(champion(7), new), gate, IMAGE)
    assert found.diff
    said = [text for section in sections(found.diff) for text in section.sentences if text.startswith("The pods run")]
    reasons = found.verdict.reasons
    return [one.code for one in reasons], found.diff.image if said else "", [one.mend for one in reasons]


def test_auto_takes_the_image_that_was_built_for_the_version() -> None:
    assert answer("auto", OWN) == ([], OWN, [])


def test_auto_takes_the_standard_image_for_a_version_that_needs_no_other() -> None:
    assert answer("auto", needs=("numpy==2.4.6",)) == ([], STANDARD, [])


@pytest.mark.parametrize(
    ("key", "command"),
    [
        ("auto", f"mlops image {MODEL} --version 8"),
        (
            "",
            f"mlops image {MODEL} --version 8 && pulumi config set --path mlops:endpoints.churn.image auto",
        ),
    ],
)
def test_a_version_whose_packages_the_image_lacks_is_refused_with_the_command_that_builds_one(
    key: str, command: str
) -> None:
    assert answer(key) == ([Code.PACKAGES], STANDARD, [command])


def test_an_image_that_the_stack_file_names_passes_if_it_is_the_one_of_the_version() -> None:
    assert answer(OWN, OWN) == ([], OWN, [])
    other = OWN.replace("aaa", "bbb")
    assert answer(OWN, other) == ([Code.PACKAGES], OWN, [f"mlops image {MODEL} --version 8"])


@pytest.mark.parametrize(
    "written",
    [
        "registry.example.com/other/serving:own-1",
        "evil.example.com/mlops/serving@sha256:" + "a" * 64,
        "registry.example.com/mlops/serving:latest",
        "registry.example.com/mlops/serving",
        "not an image",
    ],
)
def test_an_image_that_was_written_into_the_registry_does_not_run(written: str) -> None:
    codes, image, _ = answer("auto", written)
    assert (codes, image) == ([Code.OTHER_IMAGE], STANDARD)
    overridden = Gate(image="auto", standard_image=STANDARD, override="INC-1")
    new = version(8, requirements=NEEDS, serving_image=written)
    assert preview(release(7, 8), facts(champion(7), new), overridden, IMAGE).verdict.fails


@pytest.mark.parametrize("mlflow", ["mlflow==3.16.0", "mlflow==3.17.2", "mlflow-skinny==2.22.0"])
def test_a_release_of_mlflow_is_no_reason_for_another_image(mlflow: str) -> None:
    new = version(8, requirements=("numpy==2.4.6", mlflow))
    image = {**IMAGE, "mlflow-skinny": "3.17.2"}
    assert not preview(release(7, 8), facts(champion(7), new), Gate(protected=True), image).verdict.reasons


def test_the_image_of_a_stack_file_is_read_if_it_has_the_right_form() -> None:
    config = {"mlops:images": {"serving": STANDARD}, "mlops:endpoints": {"churn": {"version": 8, "image": "auto"}}}
    assert images.of_stack_file(config, "churn") == {"image": "auto", "standard_image": STANDARD}
    assert images.of_stack_file({"mlops:images": 3, "mlops:endpoints": {"churn": {"image": 4}}}, "churn") == {}
