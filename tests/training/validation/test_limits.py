import pytest

from training.settings import SettingsError
from training.validation import limits


def test_without_a_word_the_defaults_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VALIDATION", raising=False)
    assert limits.from_environment().validation == limits.Limits()


def test_the_environment_changes_what_it_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VALIDATION", '{"any_loss": 0.2, "least": {"f1": 0.5}}')
    assert limits.from_environment().validation == limits.Limits(any_loss=0.2, least={"f1": 0.5})


def test_a_deadline_that_is_none_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VALIDATION_DEADLINE_SECONDS", "soon")
    with pytest.raises(SettingsError, match=r"^VALIDATION_DEADLINE_SECONDS: input should be a valid integer"):
        limits.from_environment()


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ('{"any_loss": 2}', "VALIDATION any_loss: input should be less than or equal to 1, not 2"),
        ('{"any_los": 0.1}', "VALIDATION any_los: extra inputs are not permitted"),
        ('{"least": {"auc": 0.5}}', "VALIDATION least.auc"),
        ("{", "VALIDATION is not JSON"),
    ],
)
def test_a_wrong_limit_is_told_with_those_that_there_are(
    monkeypatch: pytest.MonkeyPatch, value: str, said: str
) -> None:
    monkeypatch.setenv("VALIDATION", value)
    with pytest.raises(SettingsError) as told:
        limits.from_environment()
    sentence = str(told.value)
    assert said in sentence
    assert "any_loss, slice_least" in sentence
    assert "\n" not in sentence


def test_the_defaults_keep_the_bounds_that_a_user_must_keep() -> None:
    assert limits.Limits.model_validate(limits.Limits().model_dump()) == limits.Limits()
