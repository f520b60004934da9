"""Messages about paths of one host that no load balancer could route."""

from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import ValidationError

from infra.config import problems
from infra.config.stack import Settings
from tests.infra.config.test_aws import ENDPOINT, with_ingress

HOST = "predictions.example.com"
CERTIFICATE = "arn:aws:acm:eu-west-1:123456789012:certificate/12345678-1234-1234-1234-123456789012"


def said(first: Mapping[str, Any], second: Mapping[str, Any] | None = None, tracking: object = None) -> list[str]:
    """Return the problems of a stack file with endpoints churn and fraud that have these ingresses."""
    tree = with_ingress(ENDPOINT, {"host": HOST, **first})
    if second is not None:
        tree["endpoints"]["fraud"] = {"version": 1, "drain_seconds": 20, "ingress": {"host": HOST, **second}}
    if tracking:
        tree["tracking"]["ingress"] = tracking
    try:
        Settings.model_validate(tree)
    except ValidationError as error:
        return [problem.line("Pulumi.prod.yaml") for problem in problems.of(error, Settings)]
    return []


@pytest.mark.parametrize("path", ["/churn", "/models/churn", "/churn_2-b"])
def test_paths_of_one_host_that_differ_are_accepted(path: str) -> None:
    assert said({"path": path}, {"path": "/fraud"}) == []
    assert said({"path": path}, {"path": f"{path}er"}) == []


@pytest.mark.parametrize(
    "path",
    ["/", "churn", "/churn/", "/churn.v2", "/../churn", "//churn", "/chu rn", "/ch*", "/metrics", "/invocations/x"],
)
def test_a_path_with_two_spellings_or_of_the_endpoints_own_is_refused(path: str) -> None:
    (line,) = said({"path": path})
    assert line.startswith("Pulumi.prod.yaml: mlops:endpoints.churn.ingress.path is ")
    assert "must be a path of letters, digits, - and _ that begins with / and does not end with it, because" in line


@pytest.mark.parametrize(
    ("first", "second", "found"),
    [
        (
            "/churn",
            "/churn",
            f"is {HOST}/churn/ in churn and {HOST}/churn/ in fraud: must have another host, or a path",
        ),
        ("/churn", "/churn/v2", f"is {HOST}/churn/ in churn and {HOST}/churn/v2/ in fraud: must have another host"),
        (None, "/fraud", f"is {HOST}/ in churn and {HOST}/fraud/ in fraud: must have another host"),
        (None, None, f"is {HOST}/ in churn and {HOST}/ in fraud: must have another host"),
    ],
)
def test_requests_that_two_endpoints_could_get_are_refused(first: str | None, second: str | None, found: str) -> None:
    (line,) = said({"path": first}, {"path": second})
    assert found in line
    assert said({"path": first}, {"path": second, "host": "other.example.com"}) == []


def test_mlflow_has_a_host_of_its_own() -> None:
    (line,) = said({"path": "/churn"}, tracking={"host": HOST})
    assert f"{HOST}/ in mlops:tracking and {HOST}/churn/ in churn" in line


@pytest.mark.parametrize(
    "other", [{"certificate_arn": CERTIFICATE}, {"idle_timeout_seconds": 90}, {"cidrs": ["203.0.113.0/24"]}]
)
def test_one_load_balancer_has_one_certificate_and_one_set_of_networks(other: Mapping[str, object]) -> None:
    (line,) = said({"path": "/churn"}, {"path": "/fraud", **other})
    assert f"is different for {HOST} in churn and in fraud: must have the same scheme, certificate_arn, cidrs" in line
