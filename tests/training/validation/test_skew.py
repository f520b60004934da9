from importlib.metadata import version

import pytest

from training.validation import skew

PANDAS = version("pandas")
MAJOR, MINOR, PATCH = map(int, PANDAS.split("."))


@pytest.mark.parametrize(
    ("line", "step"),
    [
        (f"pandas=={MAJOR}.{MINOR}.{PATCH + 1}", "patch"),
        (f"pandas=={MAJOR}.{MINOR + 1}.0", "minor"),
        (f"pandas=={MAJOR + 1}.0.0", "any"),
        ("a-package-that-is-not-here==1.0", "any"),
    ],
)
def test_a_package_that_differs_is_found_and_how_far_off_it_is(line: str, step: str) -> None:
    (found,) = skew.differences([line])
    assert found.step == step
    assert found.trained in str(found)
    allowed = skew.STEPS[: skew.STEPS.index(step)]
    assert all(skew.beyond([found], word) for word in allowed)
    assert not skew.beyond([found], step)


@pytest.mark.parametrize("name", ["mlflow", "mlflow-skinny", "mlflow-tracing"])
def test_mlflow_of_another_release_differs_by_a_patch_and_needs_only_its_skinny_package(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = {"mlflow-skinny": "3.17.2"}
    monkeypatch.setattr(skew, "version", installed.__getitem__)
    assert skew.differences([f"{name}==3.17.2"]) == []
    (found,) = skew.differences([f"{name}==3.1.0"])
    assert (found.here, found.step) == ("3.17.2", "patch")


def test_what_is_as_it_was_is_no_difference() -> None:
    lines = [f"pandas=={PANDAS}", "numpy", "# a comment", "", "pandas==0.1; python_version < '3'"]
    assert skew.differences(lines) == []


def test_a_difference_is_reported_with_the_package_here_and_there() -> None:
    missing, other = skew.differences(["nowhere==1.0", f"pandas=={MAJOR + 1}.0.0"])
    assert str(missing) == "nowhere is missing (trained with 1.0)"
    assert str(other) == f"pandas {PANDAS} (trained with {MAJOR + 1}.0.0)"
