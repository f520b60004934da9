"""Workflows in `act`: the order of the commands, their arguments, and what a refusal stops."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.workflows import act
from tests.workflows.act import REPOSITORY, Outcome

pytestmark = pytest.mark.long
HEAD, BEFORE = "a" * 40, "b" * 40
MODELS = "mlops preview --stack prod --base origin/main --models-only --markdown --out report.md"
WHOLE = "mlops preview --stack prod --base origin/main --markdown --out report.md"
ROLE = "aws-actions/configure-aws-credentials aws-region=eu-west-1 role-to-assume=arn:aws:iam::123456789012:role/r"
UP = "pulumi up --stack prod --policy-pack policy --yes"
FIND = "pulumi stack output kubeconfig_command --stack prod"
VARIABLES = {
    "APP_CLIENT_ID": "Iv1.app",
    "AWS_REGION": "eu-west-1",
    "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/r",
    "MLFLOW_TRACKING_URI": "https://mlflow.example.com",
    "PULUMI_BACKEND_URL": "s3://state",
}


def comment(outcome: str) -> str:
    return f"mlops comment --stack prod --pull-request 7 --file report.md --outcome {outcome}"


def preview(into: Path, *, head: str = REPOSITORY, codes: Mapping[str, int] | None = None) -> Outcome:
    """Run the preview of a pull request whose texts are commands that write the file `stolen`."""
    steal = f"$(touch {into}/stolen)"
    payload: Mapping[str, Any] = {
        "number": 7,
        "pull_request": {
            "number": 7,
            "title": steal,
            "body": steal,
            "head": {"sha": HEAD, "ref": steal, "repo": {"full_name": head}},
            "base": {"sha": BEFORE, "ref": "main", "repo": {"full_name": REPOSITORY}},
        },
    }
    return act.run("preview", "pull_request", payload, into=into, variables=VARIABLES, codes=codes)


def merge(into: Path, codes: Mapping[str, int] | None = None, **more: str) -> Outcome:
    payload = {"before": BEFORE, "ref": "refs/heads/main"}
    return act.run("deploy", "push", payload, into=into, variables=VARIABLES | more, codes=codes)


def by_hand(workflow: str, into: Path, codes: Mapping[str, int] | None = None, **inputs: str) -> Outcome:
    payload = {"inputs": inputs}
    return act.run(workflow, "workflow_dispatch", payload, into=into, variables=VARIABLES, codes=codes)


rollback, propose = partial(by_hand, "rollback"), partial(by_hand, "propose")


def without_token(lines: list[str]) -> list[str]:
    return [line for line in lines if not line.startswith("actions/create-github-app-token")]


def test_a_pull_request_gets_the_models_and_then_the_whole_report(tmp_path: Path) -> None:
    done = preview(tmp_path)
    assert done.succeeded, done.output
    assert done.lines == [MODELS, comment("passes"), ROLE, WHOLE, comment("passes")]
    for call in done.calls:
        if call.words[1] == "comment":
            assert call.text == "the report\n"
            assert call.environment["GITHUB_TOKEN"] == "of-the-job"


@pytest.mark.parametrize(
    ("code", "outcome", "text"),
    [
        (3, "refused", "the report\n"),
        (1, "unverified", "The report could not be made. The log of the job says why.\n"),
        (2, "unverified", "The report could not be made. The log of the job says why.\n"),
    ],
)
def test_a_preview_that_does_not_pass_is_red_and_the_comment_says_it(
    tmp_path: Path, code: int, outcome: str, text: str
) -> None:
    done = preview(tmp_path, codes={"mlops preview": code})
    assert not done.succeeded
    assert done.lines == [MODELS, comment(outcome), ROLE, WHOLE, comment(outcome)]
    assert {call.text for call in done.calls if call.words[1] == "comment"} == {text}


def test_a_preview_whose_comment_cannot_be_written_is_red(tmp_path: Path) -> None:
    done = preview(tmp_path, codes={"mlops comment": 1})
    assert not done.succeeded
    assert done.lines == [MODELS, comment("passes"), ROLE, WHOLE, comment("passes")]


def test_a_job_that_cannot_be_prepared_is_red_and_calls_nothing(tmp_path: Path) -> None:
    done = preview(tmp_path, codes={"make": 2})
    assert not done.succeeded
    assert done.lines == []
    assert "Failure - Main Comment" not in done.output


@pytest.mark.parametrize("code", [0, 3])
def test_a_fork_gets_the_report_about_models_and_nothing_else(tmp_path: Path, code: int) -> None:
    done = preview(tmp_path, head="mallory/mlops", codes={"mlops preview": code})
    assert done.succeeded == (code == 0)
    assert done.lines == [MODELS]
    assert "GITHUB_TOKEN" not in done.calls[0].environment


def test_the_text_of_a_pull_request_is_no_command(tmp_path: Path) -> None:
    assert preview(tmp_path).succeeded
    assert not (tmp_path / "stolen").exists()


def test_a_merge_is_previewed_again_deployed_and_asked_for_a_prediction(tmp_path: Path) -> None:
    done = merge(tmp_path)
    assert done.succeeded, done.output
    preview, *rest, predict = [line for line in done.lines if line != ROLE]
    assert preview == f"mlops preview --stack prod --base {BEFORE} --markdown --out report.md"
    assert rest == [UP, FIND]
    assert predict.startswith("mlops predict churn-predictor .ci/smoke/churn-predictor.csv --out ")
    assert done.calls[-1].environment["KUBECONFIG"] == "kubeconfig"


def test_a_runner_with_a_kubeconfig_of_its_own_uses_that(tmp_path: Path) -> None:
    done = merge(tmp_path, KUBECONFIG="elsewhere")
    assert done.succeeded, done.output
    assert FIND not in done.lines
    assert done.calls[-1].environment["KUBECONFIG"] == "elsewhere"


@pytest.mark.parametrize("code", [1, 3])
def test_a_merge_whose_preview_does_not_pass_deploys_nothing(tmp_path: Path, code: int) -> None:
    done = merge(tmp_path, {"mlops preview": code})
    assert not done.succeeded
    assert UP not in done.lines


@pytest.mark.parametrize("command", ["pulumi up", "mlops predict"])
def test_a_deployment_that_fails_or_answers_nothing_is_red(tmp_path: Path, command: str) -> None:
    done = merge(tmp_path, {command: 1})
    assert not done.succeeded
    assert done.lines[-1].startswith(command)


PROPOSED = "mlops propose churn-predictor --previous --stack prod --endpoint churn-predictor"


def test_a_rollback_by_pull_request_deploys_nothing(tmp_path: Path) -> None:
    done = rollback(tmp_path, endpoint="churn-predictor", how="pull-request")
    assert done.succeeded, done.output
    assert without_token(done.lines) == [PROPOSED]
    assert done.calls[-1].environment["GITHUB_TOKEN"] == "of-the-app"


def test_a_direct_rollback_deploys_the_former_version_and_proposes_it_too(tmp_path: Path) -> None:
    done = rollback(tmp_path, endpoint="churn-predictor", how="direct")
    assert done.succeeded, done.output
    lines = without_token(done.lines)
    lines.remove(PROPOSED)  # the two jobs run at the same time
    *others, predict = lines
    assert others == [ROLE, "mlops release churn-predictor --previous --stack prod", UP, FIND]
    assert predict.startswith("mlops predict churn-predictor .ci/smoke/churn-predictor.csv ")


def test_a_named_version_is_proposed_with_a_token_that_starts_checks(tmp_path: Path) -> None:
    done = propose(tmp_path, model="churn-predictor", version="8", endpoint="churn-staging")
    assert done.succeeded, done.output
    role, token, proposed = done.lines
    assert role == ROLE
    assert token == (
        "actions/create-github-app-token client-id=Iv1.app permission-contents=write "
        "permission-pull-requests=write private-key=of-the-app"
    )
    assert proposed == "mlops propose churn-predictor 8 --stack prod --endpoint churn-staging"
    assert done.calls[-1].environment["GITHUB_TOKEN"] == "of-the-app"


@pytest.mark.parametrize("code", [0, 1])
def test_tagged_versions_are_proposed_by_the_schedule_and_copied_from_their_registry(tmp_path: Path, code: int) -> None:
    more = {"COPY_FROM": "https://mlflow.dev.example.com", "MODELS": "churn-predictor fraud"}
    codes = {"mlops propose": code}
    done = act.run("propose", "schedule", {}, into=tmp_path, variables=VARIABLES | more, codes=codes)
    assert done.succeeded == (code == 0), done.output
    assert [line for line in done.lines if "propose" in line] == [
        f"mlops propose {model} --tagged --stack prod --copy-from https://mlflow.dev.example.com"
        for model in ("churn-predictor", "fraud")
    ]


def train(into: Path, codes: Mapping[str, int] | None = None) -> Outcome:
    more = {"TRAINING_IMAGE": "123456789012.dkr.ecr.eu-west-1.amazonaws.com/mlops-dev/training"}
    return act.run("train", "push", {"after": HEAD}, into=into, variables=VARIABLES | more, codes=codes)


def test_changed_training_code_is_trained_in_an_image_that_its_digest_names(tmp_path: Path) -> None:
    done = train(tmp_path)
    assert done.succeeded, done.output
    role, *calls = done.calls
    assert role.line == ROLE
    words = [list(call.words) for call in calls]
    tag = words[3][-1]
    repository, _, version = tag.partition(":")
    commit = version.partition("-")[0]
    assert sorted(words[:2]) == [  # both ends of a pipe
        ["aws", "ecr", "get-login-password"],
        ["docker", "login", "--username", "AWS", "--password-stdin", "123456789012.dkr.ecr.eu-west-1.amazonaws.com"],
    ]
    assert words[2:] == [
        ["docker", "build", "--file", "training/Dockerfile", "--tag", tag, "."],
        ["docker", "push", tag],
        ["docker", "inspect", "--format", "{{index .RepoDigests 0}}", tag],
        ["aws", "eks", "update-kubeconfig", "--name", "mlops-dev"],
        ["mlops", "train", "churn", "--image", f"{repository}@sha256:{'a' * 64}", "--commit", commit],
    ]
    assert len(commit) == 40


@pytest.mark.parametrize("code", [1, 3])
def test_a_run_that_fails_or_whose_version_is_refused_is_red(tmp_path: Path, code: int) -> None:
    assert not train(tmp_path, {"mlops train": code}).succeeded


@pytest.mark.parametrize("code", [0, 3])
def test_a_difference_that_the_night_finds_is_red(tmp_path: Path, code: int) -> None:
    done = act.run("infra-diff", "schedule", {}, into=tmp_path, variables=VARIABLES, codes={"mlops infra-diff": code})
    assert done.succeeded == (code == 0)
    assert done.lines == [ROLE, "mlops infra-diff --stack prod"]
