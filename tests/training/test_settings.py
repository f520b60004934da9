import pytest

from training.settings import Settings, SettingsError

GOOD = {"DATASET": "s3://b/k.csv", "MODEL": "churn-predictor", "MLFLOW_TRACKING_URI": "http://localhost:5000"}


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)


def test_three_variables_are_enough() -> None:
    settings = Settings.load()
    assert settings.parameters == {"n_estimators": 100, "max_depth": 10}
    assert settings.origin == {}


def test_what_the_platform_tells_becomes_tags(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_COMMIT", "3f2a9c1")
    monkeypatch.setenv("PULUMI_URN", "urn:pulumi:local::mlops::x")
    assert Settings.load().origin == {"git_commit": "3f2a9c1", "pulumi_urn": "urn:pulumi:local::mlops::x"}


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("N_ESTIMATORS", "many", "valid integer"),
        ("N_ESTIMATORS", "0", "greater than or equal to 1"),
        ("N_ESTIMATORS", "10.5", "valid integer"),
        ("MAX_DEPTH", "1000", "less than or equal to 100"),
        ("MODEL", "Churn Predictor", "lower case letters"),
        ("MLFLOW_PATIENCE_SECONDS", "-1", "greater than or equal to 0"),
    ],
)
def test_a_wrong_value_is_told_with_its_rule_and_an_example(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, rule: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as told:
        Settings.load()
    sentence = str(told.value)
    assert sentence.startswith(f"{name}={value!r}")
    assert rule in sentence
    assert f"for example {name}=" in sentence


@pytest.mark.parametrize("value", [None, ""])
def test_a_missing_dataset_is_told_with_what_to_set(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    monkeypatch.delenv("DATASET")
    if value is not None:
        monkeypatch.setenv("DATASET", value)
    with pytest.raises(SettingsError, match=r"DATASET is not set; .* set it, for example DATASET=s3://"):
        Settings.load()


def test_all_problems_are_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATASET")
    monkeypatch.setenv("MAX_DEPTH", "deep")
    with pytest.raises(SettingsError) as told:
        Settings.load()
    sentence = str(told.value)
    assert "DATASET is not set" in sentence
    assert "MAX_DEPTH='deep'" in sentence
    assert "\n" not in sentence
