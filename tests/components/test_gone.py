"""Error message for an object that was deleted outside Pulumi."""

import pytest
from pulumi import ErrorHookArgs

from components.gone import missing_object
from tests.deployed import local


@pytest.mark.parametrize(
    ("operation", "error", "missing"),
    [
        (
            "create",
            'resource "x" was not successfully created: namespaces "ml-training" not found',
            "namespaces/ml-training",
        ),
        (
            "update",
            'update of resource "x" failed: deployments.apps "churn-predictor" not found\nunable to ...',
            "deployments.apps/churn-predictor",
        ),
        ("create", 'jobs.batch "churn" is forbidden: serviceaccounts "mine" not found', None),
        ("update", "2 errors occurred: 'churn' timed out waiting to be Ready", None),
        ("delete", 'namespaces "ml-training" not found', None),
    ],
)
def test_what_a_failed_operation_did_not_find_is_distinguished_from_other_failures(
    operation: str, error: str, missing: str | None
) -> None:
    args = ErrorHookArgs("urn", "id", "churn", "Job", {}, failed_operation=operation, errors=[error, "an earlier one"])
    assert missing_object(args) == missing


def test_every_object_of_the_cluster_is_watched() -> None:
    made = [resource for resource in local().resources if resource.type.startswith("kubernetes:")]
    assert {resource.name for resource in made} > {"ml-training", "postgres", "churn", "churn-predictor"}
    assert not [resource.name for resource in made if "gone" not in resource.error_hooks]
