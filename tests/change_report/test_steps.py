"""Steps of the engine as changes of resources."""

from typing import Any

import pytest

from change_report.steps import Op, infrastructure, versions
from change_report.stores import STORES
from change_report.values import NOT_SHOWN, Field
from tests.change_report.examples import DEPLOYMENT, LATER, SECRET, document, serves, step

BUCKET = "mlops:aws:ArtifactBucket$aws:s3/bucket:Bucket"


def test_resources_are_counted_by_what_happens_to_them() -> None:
    found = infrastructure(
        document(
            step("create", "aws:ec2/vpc:Vpc", "a", new={}),
            step("update", "aws:ec2/vpc:Vpc", "b", old={"x": 1}, new={"x": 2}),
            step("same", "aws:ec2/vpc:Vpc", "c", old={}, new={}),
            step("delete", "aws:ec2/vpc:Vpc", "d", old={}),
            step("import", "aws:ec2/vpc:Vpc", "e", new={}),
        )
    )
    assert (found.counts, found.same) == ({Op.DELETE: 1, Op.UPDATE: 1, Op.CREATE: 2}, 1)


def test_the_steps_of_one_replacement_are_one_change() -> None:
    before, after = {"bucket": "a"}, {"bucket": "b"}
    found = infrastructure(
        document(
            step("create-replacement", BUCKET, "artifacts", old=before, new=after, replaceReasons=["bucket"]),
            step("replace", BUCKET, "artifacts", old=before, new=after, replaceReasons=["bucket"]),
            step("delete-replaced", BUCKET, "artifacts", old=before),
        )
    )
    (change,) = found.changes
    assert (change.op, change.title, change.because) == (Op.REPLACE, "Bucket artifacts", ("bucket",))
    assert change.fields == (Field(path="bucket", old="a", new="b"),)


def test_what_holds_data_and_goes_comes_first() -> None:
    found = infrastructure(
        document(
            step("delete", "aws:ec2/vpc:Vpc", "a-network", old={}),
            step("update", BUCKET, "updated", old={"x": 1}, new={"x": 2}),
            step("replace", "kubernetes:apps/v1:StatefulSet", "postgres", old={"x": 1}, new={"x": 2}),
            step("create", "aws:kms/key:Key", "created", new={}),
            step("delete", "kubernetes:core/v1:PersistentVolumeClaim", "data", old={}),
        )
    )
    assert [each.name for each in found.losses] == ["data", "postgres"]
    assert [each.name for each in found.changes] == ["data", "postgres", "a-network", "updated", "created"]


@pytest.mark.parametrize("kind", STORES)
def test_what_the_update_leaves_in_the_cloud_is_no_loss(kind: str) -> None:
    gone = step("delete", kind, "kept", old={})
    assert infrastructure(document(gone)).losses
    gone["oldState"]["retainOnDelete"] = True
    assert not infrastructure(document(gone)).losses


def test_components_and_providers_are_not_counted() -> None:
    found = infrastructure(
        document(
            step("create", "mlops:index:ModelEndpoint", "churn", new={}),
            step("update", "pulumi:providers:aws", "default", old={"x": 1}, new={"x": 2}),
            {"op": "create", "urn": "urn:pulumi:prod::mlops::pulumi:pulumi:Stack::mlops-prod", "newState": {}},
        )
    )
    assert (found.changes, found.same) == ((), 0)


def test_a_kubernetes_object_has_its_own_name_and_namespace() -> None:
    (change,) = infrastructure(document(step("create", DEPLOYMENT, "churn-res", new=serves("churn", 1)))).changes
    assert change.title == "Deployment ml-serving/churn"


def test_values_that_are_not_known_yet_are_counted() -> None:
    inputs = {"arn": LATER, "list": [LATER, "known"]}
    found = infrastructure(
        document(
            step("create", "aws:ec2/vpc:Vpc", "a", new=inputs), step("same", "aws:ec2/vpc:Vpc", "b", old={}, new=inputs)
        )
    )
    assert found.unknown == 2


def fields(kind: str, old: dict[str, Any], new: dict[str, Any], *details: str) -> tuple[Field, ...]:
    detailed = {path: {"kind": "update", "inputDiff": True} for path in details}
    (change,) = infrastructure(document(step("update", kind, "x", old=old, new=new, detailedDiff=detailed))).changes
    return change.fields


def test_a_changed_secret_is_named_and_not_shown() -> None:
    """The engine shows both values as `[secret]`; its list of changed paths says that they differ."""
    old = {"password": SECRET, "size": 1, "env": [{"name": "A", "value": SECRET}]}
    found = fields("aws:rds/instance:Instance", old, {**old, "size": 2}, "size", "password", "env[0].value")
    assert found == (
        Field(path="size", old="1", new="2"),
        Field(path="password", old=SECRET, new=SECRET),
        Field(path="env[0].value", old=SECRET, new=SECRET),
    )


def test_the_data_of_a_kubernetes_secret_is_never_shown() -> None:
    sides: list[dict[str, Any]] = [
        {"metadata": {"name": "s"}, "stringData": {"user": value}} for value in ("ada", "bob")
    ]
    found = fields("kubernetes:core/v1:Secret", sides[0], sides[1], "stringData.user")
    assert found == (Field(path="stringData.user", old=SECRET, new=SECRET),)


def test_a_change_from_outside_the_program_has_the_engines_path() -> None:
    assert fields("aws:ec2/vpc:Vpc", {"a": 1}, {"a": 1}, "tagsAll.owner") == (
        Field(path="tagsAll.owner", old=NOT_SHOWN, new=NOT_SHOWN),
    )


def test_versions_of_endpoints_are_read_from_their_deployments() -> None:
    found = versions(
        document(
            step("update", DEPLOYMENT, "changed", old=serves("changed", 7), new=serves("changed", 8)),
            step("same", DEPLOYMENT, "same", old=serves("same", 7), new=serves("same", 7)),
            step("create", DEPLOYMENT, "new", new=serves("new", 1)),
            step("delete", DEPLOYMENT, "gone", old=serves("gone", 3)),
            step("update", "kubernetes:apps/v1:Deployment", "other", old=serves("o", 1), new=serves("o", 2)),
        )
    )
    assert found == {"changed": ("7", "8"), "new": ("", "1"), "gone": ("3", "")}
