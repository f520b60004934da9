"""Findings about an AWS account: each broken situation has its line and its way out, and no request writes."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bootstrap import actions
from bootstrap.documents import READ_POLICIES
from doctor.aws.requests import ACTIONS
from doctor.checks import Surroundings, checks
from doctor.examination import Report, examine
from doctor.findings import Level
from tests.doctor.aws.cases import CASES, Case
from tests.doctor.aws_double import HEALTHY, Cloud
from tests.doctor.stacks import MANAGED, THERE, stack

READS = re.compile(r"(Describe|Get|Head|List|BatchGet)[A-Z]")
HERE = ("AWS credentials", "region")


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    """AWS whose clients are created once; every request of the module is a read."""
    cloud = Cloud()
    yield cloud
    assert cloud.requested
    assert not [each for each in cloud.requested if not READS.match(each.partition(":")[2])]


def reports(cloud: Cloud, case: Case, folder: Path, *, only: str | None = None) -> list[Report]:
    """Make the checks of a situation that ask AWS, or one of them."""
    cloud.responses = {**HEALTHY, **case.responses}
    around = Surroundings(environment={"PATH": str(folder)}, folder=folder, connect=cloud.connect)
    made = checks(stack(folder, case.stack), around)
    if only:
        made = [replace(check, needs=None) for check in made if check.name == only]
    return examine(made)


@pytest.mark.parametrize("name", CASES)
def test_a_broken_situation_has_one_line_with_the_command_that_mends_it(
    cloud: Cloud, name: str, tmp_path: Path
) -> None:
    case = CASES[name]
    (report,) = reports(cloud, case, tmp_path, only=case.check)
    fitting = [each for each in report.findings if each.level is case.level and case.what in f"{each.what}: {each.why}"]
    assert fitting, report.findings
    assert all(case.mend in each.mend for each in fitting), fitting
    assert all("\n" not in each.what + each.why + each.mend for each in report.findings)
    assert all(each.why and each.mend for each in report.findings if each.level is not Level.OK)


def test_there_are_at_least_forty_broken_situations() -> None:
    assert len(CASES) >= 40


@pytest.mark.parametrize(
    "changes",
    [{}, {"foundation.node_pools": {"cpu": MANAGED}}, {"foundation.artifacts.bucket": None, "training": {}}],
    ids=["prod", "managed nodes", "no bucket name"],
)
def test_an_account_where_the_stack_can_be_deployed_has_no_problem(
    cloud: Cloud, changes: dict[str, object], tmp_path: Path
) -> None:
    found = reports(cloud, Case(check="", what="", mend="", stack=changes), tmp_path)
    of_aws = [each for each in found if each.check not in {"Pulumi engine", "state backend"}]
    wrong = [(report.check, each) for report in of_aws for each in report.findings if each.level is not Level.OK]
    assert not wrong
    assert len(of_aws) == 17


def test_wrong_credentials_end_the_checks_that_need_them(cloud: Cloud, tmp_path: Path) -> None:
    found = reports(cloud, CASES["credentials of another account"], tmp_path)
    (credentials,) = [each for each in found if each.check == "AWS credentials"]
    assert [each.level for each in credentials.findings] == [Level.PROBLEM, Level.UNCHECKED]
    assert "checks were not made (region, zones, " in credentials.findings[1].what
    assert "region" not in {each.check for each in found}


def test_an_existing_network_and_cluster_add_nothing_to_the_quotas_of_the_network(cloud: Cloud, tmp_path: Path) -> None:
    responses = CASES["an existing cluster in another VPC"].responses
    case = Case(check="", what="", mend="", stack=THERE, responses=responses)
    (report,) = reports(cloud, case, tmp_path, only="quotas of the network")
    assert [each.level for each in report.findings] == [Level.OK]


BEYOND_THE_PREVIEW_ROLE = {
    "ecr:BatchGetImage",
    "s3:GetObject",
    "s3:ListAllMyBuckets",
    "sts:GetCallerIdentity",  # needs no permission
}


def test_the_preview_role_of_the_bootstrap_may_make_the_requests_of_the_checks(cloud: Cloud, tmp_path: Path) -> None:
    cloud.requested.clear()
    for case in CASES.values():
        reports(cloud, case, tmp_path, only=case.check)
    asked = {_action(each) for each in cloud.requested}
    read = {each for several in actions.PLATFORM.values() for each in actions.reading(several)}
    assert len(asked) > 20
    assert asked - read - {*actions.READ_ROLES, *READ_POLICIES} == BEYOND_THE_PREVIEW_ROLE


def _action(operation: str) -> str:
    service, _, name = operation.partition(":")
    return f"{service.replace('-', '')}:{ACTIONS.get(name, name)}"
