"""Messages about wrong settings of Athena."""

import copy
from typing import Any

import pytest

from tests.infra.config.test_stack import problems
from tests.infra.foundations.test_aws import tracked
from tests.stacks import changed


def test_athena_is_refused_off_aws() -> None:
    (line,) = problems(changed({"athena": {}}))
    assert "athena" in line
    assert "must be used with mlops:foundation.kind aws, because Athena is a service of AWS; remove the key" in line


@pytest.mark.parametrize(("more", "found"), [([], 1), (["athena"], 0)])
def test_a_drift_job_with_athena_needs_a_connection_to_it(more: list[str], found: int) -> None:
    tree: dict[str, Any] = {**tracked(), "athena": {}}
    needed = ["ec2", "ecr.api", "ecr.dkr", "eks-auth", "sts"]
    network = {"cidr": "10.40.0.0/16", "nat_gateways": "none", "interface_endpoints": [*needed, *more]}
    tree["foundation"]["network"] = network
    tree["endpoints"]["churn-predictor"] |= {"prediction_log": {}, "drift": {"engine": "athena"}}
    lines = problems(tree, {"database_password": "0123456789-password"})
    assert len(lines) == found
    assert all("must be used where pods reach Athena" in line and "add athena to mlops" in line for line in lines)


@pytest.mark.parametrize(
    ("athena", "message"),
    [
        ({"query_limit_gib": 0}, "athena.query_limit_gib is 0: must be a whole number of GiB from 1 to 102400"),
        ({"query_limit_gib": 1.5}, "athena.query_limit_gib is 1.5: must be a whole number of GiB"),
        ({"result_days": 400}, "athena.result_days is 400: must be a whole number of days from 1 to 365"),
    ],
)
def test_a_wrong_value_is_one_line(athena: object, message: str) -> None:
    tree = copy.deepcopy(tracked()) | {"athena": athena}
    (line,) = problems(tree, {"database_password": "0123456789-password"})
    assert message in line
