"""Names of experiments."""

from components.endpoint.experiments import Experiment, appended, parsed, reuse

TREES = Experiment(name="trees", champion=7, challenger=8)
OTHER = Experiment(name="trees", champion=8, challenger=9)


def test_a_name_always_means_the_same_pair_of_versions() -> None:
    history = parsed(appended((), TREES))
    said = reuse("churn-predictor", OTHER, history)
    assert said.startswith(
        "mlops:endpoints.churn-predictor.challenger.experiment is trees: must be a new name, because"
    )
    assert "versions 7 and 8" in said
    assert said.endswith("write another name, as in experiment: trees-2")


def test_the_same_experiment_goes_on_and_another_name_is_new() -> None:
    history = parsed(appended((), TREES))
    assert not reuse("churn-predictor", TREES, history)
    assert not reuse("churn-predictor", Experiment(name="forest", champion=8, challenger=9), history)
    assert appended(history, TREES) == appended((), TREES), "a changed share is no second experiment"
    assert parsed(appended(history, None)) == (TREES,), "the end of an experiment does not free its name"
