import json

import pytest

from training.settings import Settings, SettingsError

GOOD = {
    "PROJECT": "churn",
    "DATASET": "s3://b/k.csv",
    "MODEL": "churn-predictor",
    "MLFLOW_TRACKING_URI": "http://localhost:5000",
}


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)


def test_four_variables_are_enough() -> None:
    settings = Settings.load()
    assert settings.parameters == {}
    assert settings.origin == {"project": "churn"}


def test_what_the_platform_tells_becomes_tags(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_COMMIT", "3f2a9c1")
    monkeypatch.setenv("PULUMI_URN", "urn:pulumi:local::mlops::x")
    monkeypatch.setenv("REQUESTER", "ada")
    assert Settings.load().origin == {
        "project": "churn",
        "git_commit": "3f2a9c1",
        "pulumi_urn": "urn:pulumi:local::mlops::x",
        "requester": "ada",
    }


def test_parameters_keep_their_types(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"trees": 10, "rate": 0.5, "name": "0.001", "balanced": True, "whole": 2.0}
    monkeypatch.setenv("PARAMETERS", json.dumps(given))
    read = Settings.load().parameters
    assert read == given
    assert [type(value) for value in read.values()] == [int, float, str, bool, float]


def test_a_parameter_from_a_secret_is_kept_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARAMETER_API_KEY", "hush")
    settings = Settings.load()
    assert settings.secrets == {"api_key": "hush"}
    assert "hush" not in repr(settings)


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("PARAMETERS", "n_estimators=100", "invalid JSON"),
        ("PARAMETERS", "[1]", "valid dictionary"),
        ("PARAMETERS", '{"a": [1]}', "valid"),
        ("MODEL", "Churn Predictor", "lower case letters"),
        ("MODEL", "2024-churn", "a letter first"),
        ("MODEL", "a" * 64, "at most 63"),
        ("MLFLOW_PATIENCE_SECONDS", "-1", "greater than or equal to 0"),
    ],
)
def test_a_wrong_value_is_reported_with_its_rule_and_an_example(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, rule: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as told:
        Settings.load()
    sentence = str(told.value)
    assert sentence.startswith(f"{name}=")
    assert rule in sentence
    assert f"for example {name}=" in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize("value", [None, ""])
def test_a_missing_dataset_is_reported_with_what_to_set(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    monkeypatch.delenv("DATASET")
    if value is not None:
        monkeypatch.setenv("DATASET", value)
    with pytest.raises(SettingsError, match=r"DATASET is not set; .* set it, for example DATASET=s3://"):
        Settings.load()


def test_all_problems_are_reported_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATASET")
    monkeypatch.setenv("MODEL", "A Model")
    with pytest.raises(SettingsError) as told:
        Settings.load()
    sentence = str(told.value)
    assert "DATASET is not set" in sentence
    assert "MODEL='A Model'" in sentence
    assert "\n" not in sentence
