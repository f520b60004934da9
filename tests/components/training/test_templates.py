"""Policies by which trainers create Jobs of declared templates only. `tests/e2e/test_people.py` tries them."""

from functools import cache

from components.training import templates
from tests.deployed import deployed
from tests.recording import Recording

SCRIPT = {
    "training.churn.image": "lab.local/mine:1",
    "training.churn.command": ["python", "train.py"],
    "training.churn.parameters": {"depth": 3, "token": {"secret": "mine", "key": "token"}},
}


@cache
def recording() -> Recording:
    return deployed()


def expressions(of: Recording, policy: str) -> str:
    return "\n".join(each["expression"] for each in of.one(":ValidatingAdmissionPolicy", policy).spec["validations"])


def test_a_trainer_names_a_declared_template_whose_parts_are_fixed_before() -> None:
    everything = recording().one(":ValidatingAdmissionPolicy", "trainers")
    assert 'in ["churn", "churn-validation"]' in expressions(recording(), "trainers")
    fixed = {f"trainers-{name}" for name in ("churn", "churn-validation")}
    bindings = {each.name: each for each in recording().all(":ValidatingAdmissionPolicyBinding")}
    assert bindings.keys() == {"trainers", *fixed}
    assert {bindings[name].urn for name in fixed} <= everything.dependencies
    assert all(each.spec["validationActions"] == ["Deny"] for each in bindings.values())


def test_policies_hold_for_trainers_in_the_namespace_of_trainings_only() -> None:
    for each in recording().all(":ValidatingAdmissionPolicy"):
        (labels,) = each.spec["matchConstraints"]["namespaceSelector"].values()
        assert labels == {"kubernetes.io/metadata.name": "ml-training"}
        assert each.spec["failurePolicy"] == "Fail"
        assert each.spec["matchConditions"][0]["expression"] == templates.A_TRAINER


def test_a_run_has_the_image_command_and_account_of_its_template() -> None:
    found = expressions(recording(), "trainers-churn")
    assert '.?image.orValue("") == "lab.local/training:1"' in found
    assert '.?serviceAccountName.orValue("") == "training"' in found
    assert 'e.name == "DATASET" && e.?value.orValue("") == "s3://mlops-artifacts/datasets/churn.csv"' in found
    assert 'e.name in ["GIT_COMMIT", "IMAGE", "PARAMETERS", "REQUESTER"]' in found


def test_the_parameters_of_a_script_are_free_but_not_those_from_a_secret() -> None:
    found = expressions(deployed(SCRIPT), "trainers-churn")
    assert 'e.name in ["DEPTH", "GIT_COMMIT", "IMAGE", "MLFLOW_RUN_CONTEXT", "PARAMETERS", "REQUESTER"]' in found
    assert 'e.name == "PARAMETER_TOKEN" && ' in found


def test_a_validation_may_name_a_version_and_an_endpoint_of_the_cluster() -> None:
    found = expressions(recording(), "trainers-churn-validation")
    assert '.?args.orValue([])[2].matches("^(http://[-a-z0-9]+\\\\.ml-serving(:[0-9]+)?)$")' in found
    assert '.?serviceAccountName.orValue("") == "validation"' in found


def test_a_validation_runs_in_another_image_only_where_a_version_brings_its_own() -> None:
    build = "lab\\\\.local/serving(@sha256:"
    assert build not in expressions(recording(), "trainers-churn-validation")
    assert build in expressions(deployed({"training.churn.validation.image": "auto"}), "trainers-churn-validation")
