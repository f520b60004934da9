"""`make validate`: a Job in the cluster that says whether a version may go forward."""

import json

from tests.runs.conftest import Command
from tests.runs.world import World, complete, ended, failed, job, pod, template

CHURN = template()


def test_a_version_is_validated_with_the_code_data_and_rights_of_a_run(world: World, runs: Command) -> None:
    world.scenes([CHURN], [CHURN, job(CHURN, status=complete())])
    assert runs("validate", "churn-predictor", "3")[0] == 0
    made = world.created
    assert made
    (container,) = made["spec"]["template"]["spec"]["containers"]
    (declared,) = CHURN["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["python", "-m", "training.validate", "churn-predictor", "3"]
    assert container["image"] == declared["image"]
    declared_pod = CHURN["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert made["spec"]["template"]["spec"] | {"containers": 0} == declared_pod | {"containers": 0}
    assert json.loads(made["metadata"]["annotations"]["mlops/given"]) == {"validate": 3}


def test_a_version_that_is_refused_is_not_tried_again_and_the_exit_code_says_so(world: World, runs: Command) -> None:
    refused = ended(3, "churn-predictor version 3 is refused: roc_auc is worse")
    world.scenes(
        [CHURN], [CHURN, job(CHURN, status=failed("BackoffLimitExceeded", "no more")), pod("Failed", **refused)]
    )
    code, said = runs("validate", "churn-predictor", "3")
    assert code == 3
    assert "roc_auc is worse" in said
    assert world.created
    assert world.created["spec"]["backoffLimit"] == 0


def test_a_model_that_nothing_trains_is_refused_before_anything_is_made(world: World, runs: Command) -> None:
    world.scenes([CHURN])
    code, said = runs("validate", "churn-predicter", "3")
    assert (code, world.created) == (2, None)
    assert "did you mean churn-predictor?" in said
