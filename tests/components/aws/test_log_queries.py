"""Athena over the prediction log, with the permissions of a role that queries it."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from components.aws.account import Account
from components.aws.log_queries import LogQueries, LogQueriesArgs
from components.aws.policy_documents import Rights
from components.aws.workload_identity import WorkloadIdentity, WorkloadIdentityArgs
from tests.infra.foundations.test_aws import Aws
from tests.recording import Recording, record

# The SDK imports its own deprecated modules.
pytestmark = pytest.mark.filterwarnings("ignore:.* has been deprecated in favor of:DeprecationWarning")

ACCOUNT = Account(
    id="123456789012", partition="aws", region="eu-west-1", caller_arn="arn:aws:iam::123456789012:role/deploy"
)


def program() -> None:
    queries = LogQueries(
        "log-queries",
        LogQueriesArgs(
            name="mlops_prod",
            results="mlops-prod-results",
            bucket="mlops-prod",
            key_arn="arn:aws:kms:eu-west-1:123456789012:key/1",
            query_limit_gib=10,
            result_days=7,
            account=ACCOUNT,
        ),
    )
    WorkloadIdentity(
        "drift",
        WorkloadIdentityArgs(
            service_account="drift",
            namespace="ml-training",
            rights=Rights(read=("predictions/",)),
            further=queries.statements,
            bucket_arn="arn:aws:s3:::mlops-prod",
            key_arn="arn:aws:kms:eu-west-1:123456789012:key/1",
            cluster_name="mlops-prod",
            cluster_arn="arn:aws:eks:eu-west-1:123456789012:cluster/mlops-prod",
            permissions_boundary=None,
        ),
    )


@pytest.fixture(scope="module")
def made() -> Recording:
    return record(program, provider=Aws())


def test_a_statement_reads_at_most_the_limit_and_its_result_is_encrypted_and_deleted(made: Recording) -> None:
    settings: Mapping[str, Any] = made.one(":Workgroup", "log-queries").inputs["configuration"]
    assert settings["enforceWorkgroupConfiguration"] is True
    assert settings["bytesScannedCutoffPerQuery"] == 10 << 30
    result = settings["resultConfiguration"]
    assert result["outputLocation"] == "s3://mlops-prod-results/"
    assert result["encryptionConfiguration"]["encryptionOption"] == "SSE_KMS"
    (rule,) = made.one(":BucketLifecycleConfiguration", "log-queries").inputs["rules"]
    assert rule["expiration"] == {"days": 7}


def test_partitions_follow_from_the_keys_of_the_log(made: Recording) -> None:
    table = made.one(":CatalogTable", "log-queries-predictions").inputs
    folder = table["parameters"]["storage.location.template"]
    for name, value in {"model": "m", "version": "7", "date": "2026-11-24", "hour": "11"}.items():
        assert name in [each["name"] for each in table["partitionKeys"]]
        folder = folder.replace(f"${{{name}}}", value)
    assert folder == "s3://mlops-prod/predictions/model=m/version=7/date=2026-11-24/hour=11/"


def test_a_role_may_query_one_workgroup_and_declare_tables_of_versions_only(made: Recording) -> None:
    policy = json.loads(made.one(":RolePolicy", "drift").inputs["policy"])
    found = {action: set(each["Resource"]) for each in policy["Statement"] for action in each["Action"]}
    arn = "arn:aws:{}:eu-west-1:123456789012:{}".format
    assert found["athena:StartQueryExecution"] == {arn("athena", "workgroup/mlops_prod")}
    tables = {one for one in found["glue:CreateTable"] if ":table/" in one}
    assert tables == {arn("glue", "table/mlops_prod/predictions_*")}
    assert not {"glue:DeleteTable", "glue:UpdateTable", "s3:DeleteObject"} & set(found)
