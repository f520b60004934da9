import pytest

from training.settings import SettingsError
from training.validation import limits


def test_without_a_word_the_defaults_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VALIDATION", raising=False)
    assert limits.from_environment().validation == limits.Limits()


def test_the_environment_changes_what_it_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VALIDATION", '{"any_loss": 0.2, "least": {"f1": 0.5}}')
    assert limits.from_environment().validation == limits.Limits(any_loss=0.2, least={"f1": 0.5})


def test_a_deadline_that_is_none_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VALIDATION_DEADLINE_SECONDS", "soon")
    with pytest.raises(SettingsError, match=r"^VALIDATION_DEADLINE_SECONDS: input should be a valid integer"):
        limits.from_environment()


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ('{"any_loss": 2}', "VALIDATION any_loss: input should be less than or equal to 1, not 2"),
        ('{"any_los": 0.1}', "VALIDATION any_los: extra inputs are not permitted"),
        ('{"least": {"roc_auc": 5}}', "VALIDATION least: value error, roc_auc must be from 0 to 1"),
        ("{", "VALIDATION is not JSON"),
    ],
)
def test_a_wrong_limit_is_reported_with_those_that_exist(
    monkeypatch: pytest.MonkeyPatch, value: str, said: str
) -> None:
    monkeypatch.setenv("VALIDATION", value)
    with pytest.raises(SettingsError) as told:
        limits.from_environment()
    sentence = str(told.value)
    assert said in sentence
    assert "any_loss, slice_least" in sentence
    assert "\n" not in sentence


def test_the_limits_of_a_task_are_its_defaults_and_what_the_user_changes() -> None:
    assert limits.Limits().of("binary") == limits.Limits()
    changed = limits.Limits(any_loss=0.1, most={"mae": 300}).of("regression")
    assert (changed.compared, changed.least, changed.most, changed.any_loss) == (
        ("rmse",),
        {"r2": 0},
        {"mae": 300},
        0.1,
    )
    assert limits.Limits(compared=("accuracy",)).of("multiclass").compared == ("accuracy",)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"least": {"roc_auc": 0.7}},
            "least names roc_auc, but of this model with the task regression it can limit only r2;",
        ),
        (
            {"least": {"rmse": 0.7}},
            "least names rmse, but of this model with the task regression it can limit only r2;",
        ),
        (
            {"most": {"r2": 0.7}},
            "most names r2, but of this model with the task regression it can limit only mae, rmse;",
        ),
        (
            {"compared": ["f1"]},
            "compared names f1, but of this model with the task regression it can limit only mae, r2, rmse",
        ),
    ],
)
def test_a_limit_of_a_metric_that_the_task_does_not_have_is_refused(given: dict[str, object], said: str) -> None:
    with pytest.raises(SettingsError) as told:
        limits.Limits.model_validate(given).of("regression")
    assert said in str(told.value)


def test_the_defaults_keep_the_bounds_that_a_user_must_keep() -> None:
    assert limits.Limits.model_validate(limits.Limits().model_dump()) == limits.Limits()


def test_a_custom_task_is_compared_by_the_first_metric_of_its_own() -> None:
    own = limits.Limits(most={"loss": 3}).of("custom", {"loss": "smaller", "profit": "larger"})
    assert (own.compared, own.least, own.slice_least, own.most) == (("loss",), {}, {}, {"loss": 3})
    with pytest.raises(
        SettingsError, match="least names loss, but of this model with the task custom it can limit only"
    ):
        limits.Limits(least={"loss": 3}).of("custom", {"loss": "smaller", "profit": "larger"})
    assert limits.Limits(least={"profit": 1e6}).of("binary", {"profit": "larger"}).compared == ("roc_auc",)
