"""Limits of the alarms about the database and about certificates."""

import pytest

from components.aws.alarms import max_connections
from tests.infra.foundations.test_aws import ACCOUNT, run, tracked

CERTIFICATE = f"arn:aws:acm:eu-west-1:{ACCOUNT}:certificate/12345678-1234-1234-1234-0a1b2c3d4e5f"


@pytest.mark.parametrize(
    ("instance_class", "connections"),
    [
        ("db.t4g.micro", 112),
        ("db.t4g.small", 225),
        ("db.m7g.large", 901),
        ("db.r6g.large", 1802),
        ("db.m7g.4xlarge", 5000),
        ("db.t3.2xlarge", 3604),
    ],
)
def test_the_limit_of_connections_is_that_of_the_memory_of_the_class(instance_class: str, connections: int) -> None:
    assert max_connections(instance_class) == connections


@pytest.mark.filterwarnings("ignore:.* has been deprecated in favor of:DeprecationWarning")
def test_a_certificate_of_load_balancers_has_one_alarm_that_names_its_hosts_a_month_before_its_end() -> None:
    tree = tracked()
    for place, host in ((tree["tracking"], "mlflow"), (tree["endpoints"]["churn-predictor"], "churn")):
        place["ingress"] = {
            **(place.get("ingress") or {}), "host": f"{host}.example.com", "certificate_arn": CERTIFICATE
        }  # fmt: skip
    (alarm,) = [
        each.inputs for each in run(tree).all(":MetricAlarm") if each.inputs["namespace"] == "AWS/CertificateManager"
    ]
    assert alarm["dimensions"] == {"CertificateArn": CERTIFICATE}
    assert (alarm["metricName"], alarm["statistic"], alarm["period"]) == ("DaysToExpiry", "Minimum", 86_400)
    assert (alarm["comparisonOperator"], alarm["threshold"]) == ("LessThanThreshold", 30)
    assert "of churn.example.com, mlflow.example.com expires soon" in alarm["alarmDescription"]
