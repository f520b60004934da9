"""Files in .github/workflows: what `act` does not judge, and the commands that they call."""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pytest
import typer
import yaml
from typer.core import TyperGroup
from typer.main import get_command

from cli.main import app
from tests.projects import CHECKOUT
from tests.test_architecture import MAY_IMPORT

if TYPE_CHECKING:
    from typer._click.core import Command

FOLDER = CHECKOUT / ".github/workflows"
WORKFLOWS: Mapping[str, Mapping[str, Any]] = {
    # This loader reads `on` and all values as texts, as they are written.
    path.stem: yaml.load(path.read_text(), Loader=yaml.BaseLoader)
    for path in sorted(FOLDER.glob("*.yml"))
}
JOBS: Mapping[str, Mapping[str, Any]] = {
    f"{name}: {job}": value for name, workflow in WORKFLOWS.items() for job, value in workflow["jobs"].items()
}
SCRIPTS: Mapping[str, str] = {
    f"{job}: {step['name']}": step["run"] for job, value in JOBS.items() for step in value["steps"] if "run" in step
}
SAME_REPOSITORY = "github.event.pull_request.head.repo.full_name == github.repository"
ASSUME_ROLE = "aws-actions/configure-aws-credentials@"
SET_BY_GITHUB = re.compile(r"GITHUB_(BASE_REF|OUTPUT|RUN_ATTEMPT|RUN_ID|SHA|STEP_SUMMARY)|RUNNER_TEMP")
every_job = pytest.mark.parametrize("job", JOBS)
every_workflow = pytest.mark.parametrize("name", WORKFLOWS)


def of(name: str) -> Iterator[Mapping[str, Any]]:
    """Yield the jobs of a workflow."""
    yield from WORKFLOWS[name]["jobs"].values()


def script(job: Mapping[str, Any]) -> str:
    return "\n".join(step.get("run", "") for step in job["steps"])


def assumes_role(job: Mapping[str, Any]) -> bool:
    return any(step.get("uses", "").startswith(ASSUME_ROLE) for step in job["steps"])


def test_each_workflow_is_there_under_its_name() -> None:
    assert {name: workflow["name"] for name, workflow in WORKFLOWS.items()} == {
        name: name for name in ("check", "deploy", "infra-diff", "preview", "propose", "rollback", "train")
    }


def test_each_workflow_starts_for_its_own_events_only() -> None:
    assert {name: set(workflow["on"]) for name, workflow in WORKFLOWS.items()} == {
        "check": {"pull_request"},
        "preview": {"pull_request"},
        "deploy": {"push"},
        "train": {"push", "workflow_dispatch"},
        "propose": {"workflow_dispatch", "schedule"},
        "rollback": {"workflow_dispatch"},
        "infra-diff": {"workflow_dispatch", "schedule"},
    }


def test_every_pull_request_is_checked_and_previewed() -> None:
    """With a filter, a required check would wait for ever on a pull request that the filter leaves out."""
    assert WORKFLOWS["check"]["on"]["pull_request"] == WORKFLOWS["preview"]["on"]["pull_request"] == ""


def test_only_merged_commits_are_deployed_and_trained() -> None:
    for name in ("deploy", "train"):
        assert WORKFLOWS[name]["on"]["push"]["branches"] == ["main"]


def test_a_change_of_anything_that_the_program_reads_is_deployed() -> None:
    packages, found = {"infra"}, set[str]()
    while packages - found:
        found |= packages
        packages |= {below for package in packages for below in MAY_IMPORT[package]}
    read = {f"{package}/**" for package in packages} | {"Pulumi.yaml", "Pulumi.prod.yaml", "requirements.lock"}
    assert read | {"policy/**", "pyproject.toml", "schema/**"} == set(WORKFLOWS["deploy"]["on"]["push"]["paths"])


def test_a_change_of_the_training_code_is_trained() -> None:
    assert WORKFLOWS["train"]["on"]["push"]["paths"] == ["training/**"]


@every_workflow
def test_a_workflow_has_no_rights_of_its_own(name: str) -> None:
    assert WORKFLOWS[name]["permissions"] == {}


@every_job
def test_a_job_has_the_rights_that_its_steps_need_and_no_others(job: str) -> None:
    needed = {"contents": "read"}
    if assumes_role(JOBS[job]):
        needed["id-token"] = "write"
    if "mlops comment" in script(JOBS[job]):
        needed |= {"pull-requests": "write", "statuses": "write"}
    assert JOBS[job]["permissions"] == needed


def test_jobs_are_in_environments_whose_role_fits_what_they_do() -> None:
    config = yaml.safe_load((CHECKOUT / "bootstrap/Pulumi.prod.yaml").read_text())["config"]
    environments = config["mlops:github"]["environments"]
    changes = {job for job in JOBS if "pulumi up" in script(JOBS[job])}
    reads = {job for job in JOBS if assumes_role(JOBS[job]) and "mlops infra-diff" in script(JOBS[job])} | {
        job for job in JOBS if assumes_role(JOBS[job]) and "mlops preview" in script(JOBS[job])
    }
    assert changes == {"deploy: deploy", "rollback: direct"}
    assert {JOBS[job]["environment"] for job in changes} == set(environments["deploy"])
    assert {JOBS[job]["environment"] for job in reads} == set(environments["preview"])
    copies = {job for job in JOBS if "--copy-from" in script(JOBS[job])}
    assert {JOBS[job]["environment"] for job in copies} == set(config["mlops:copies"]["environments"])
    trains = {job for job in JOBS if "docker push" in script(JOBS[job])}
    assert {JOBS[job]["environment"] for job in trains} == set(config["mlops:training"]["environments"])
    assert {job for job in JOBS if assumes_role(JOBS[job])} == changes | reads | copies | trains


@every_job
def test_what_has_credentials_is_in_an_environment(job: str) -> None:
    if assumes_role(JOBS[job]) or "secrets." in str(JOBS[job]):
        assert JOBS[job]["environment"]


def test_no_secret_but_the_key_of_the_app_exists() -> None:
    assert set(re.findall(r"secrets\.\w+", str(WORKFLOWS))) == {"secrets.APP_PRIVATE_KEY"}


@pytest.mark.parametrize("job", [job for job in JOBS if "pull_request" in WORKFLOWS[job.partition(":")[0]]["on"]])
def test_the_code_of_a_fork_meets_no_credentials_and_no_runner_of_ours(job: str) -> None:
    value = JOBS[job]
    if SAME_REPOSITORY in value.get("if", ""):
        assert "||" not in value["if"]
        return
    assert "environment" not in value
    assert "id-token" not in value["permissions"]
    assert value["runs-on"] in (
        "ubuntu-latest",
        f"${{{{ {SAME_REPOSITORY} && vars.RUNNER || 'ubuntu-latest' }}}}",
    )
    for step in value["steps"]:
        if re.search(r"secrets\.|github\.token", str(step)):
            assert SAME_REPOSITORY in step["if"]
            assert "||" not in step["if"]


def test_every_action_has_one_commit_with_its_version_beside_it_and_there_are_three() -> None:
    lines = [
        line.strip() for path in FOLDER.glob("*.yml") for line in path.read_text().splitlines() if " uses: " in line
    ]
    found = {match[1]: match[0] for line in lines if (match := re.fullmatch(PINNED, line))}
    assert len(set(lines)) == len(found) == 3
    assert all(re.fullmatch(PINNED, line) for line in lines)


PINNED = r"uses: ([\w-]+/[\w-]+)@[0-9a-f]{40} # v\d+\.\d+\.\d+"


@every_job
def test_a_checkout_leaves_no_token_for_later_steps(job: str) -> None:
    (checkout,) = [step for step in JOBS[job]["steps"] if step.get("uses", "").startswith("actions/checkout@")]
    assert checkout["with"]["persist-credentials"] == "false"


@pytest.mark.parametrize("name", [name for name in WORKFLOWS if "create-github-app-token@" in str(WORKFLOWS[name])])
def test_a_token_of_the_app_can_open_pull_requests_only_and_only_proposals_get_it(name: str) -> None:
    for job in of(name):
        given = [step for step in job["steps"] if "steps.app.outputs.token" in str(step)]
        assert all(step["run"].count("mlops") == step["run"].count("mlops propose") > 0 for step in given)
        for step in job["steps"]:
            if "create-github-app-token@" in step.get("uses", ""):
                assert {key for key in step["with"] if key.startswith("permission-")} == {
                    "permission-contents",
                    "permission-pull-requests",
                }


@pytest.mark.parametrize("where", SCRIPTS)
def test_no_expression_is_in_a_script(where: str) -> None:
    """GitHub puts the value of an expression into the script's text, so that a branch name could be a command."""
    assert "${{" not in SCRIPTS[where]


@every_job
def test_a_script_reads_no_unset_variable(job: str) -> None:
    for step in JOBS[job]["steps"]:
        text = step.get("run", "")
        environments = (WORKFLOWS[job.partition(":")[0]].get("env", {}), JOBS[job].get("env", {}), step.get("env", {}))
        known = {name for each in environments for name in each}
        known |= set(re.findall(r"(?:^|\s)(?:for )?(\w+)(?:=| in )", text))
        read = {name for name in re.findall(r"\$\{?([A-Za-z_]\w*)", text) if not SET_BY_GITHUB.fullmatch(name)}
        assert read <= known


@every_workflow
def test_a_script_stops_at_its_first_error_also_in_a_pipe(name: str) -> None:
    assert WORKFLOWS[name]["defaults"]["run"]["shell"] == "bash"


def test_a_push_cancels_the_checks_and_previews_of_its_own_pull_request() -> None:
    for name in ("check", "preview"):
        concurrency = WORKFLOWS[name]["concurrency"]
        assert concurrency["group"] == f"{name}-${{{{ github.event.pull_request.number }}}}"
        assert concurrency["cancel-in-progress"] == "true"


def test_deployments_wait_for_each_other_and_none_is_cancelled() -> None:
    assert WORKFLOWS["deploy"]["concurrency"] == {"group": "deploy", "cancel-in-progress": "false", "queue": "max"}


@every_workflow
def test_what_writes_is_not_cancelled(name: str) -> None:
    writes = re.search(r"pulumi up|mlops (propose|train)", " ".join(map(script, of(name))))
    assert not (writes and WORKFLOWS[name]["concurrency"]["cancel-in-progress"] == "true")


def test_a_rollback_does_not_wait_for_a_deployment() -> None:
    assert WORKFLOWS["rollback"]["concurrency"]["group"] == "rollback-${{ inputs.endpoint }}"


@every_job
def test_a_job_that_hangs_is_stopped(job: str) -> None:
    assert 1 <= int(JOBS[job]["timeout-minutes"]) <= 120


def test_an_update_is_checked_by_the_policy_and_keeps_its_preview() -> None:
    updates = [line.strip() for text in SCRIPTS.values() for line in text.splitlines() if "pulumi up" in line]
    assert len(updates) == 2
    assert all("--policy-pack policy" in line and "--skip-preview" not in line for line in updates)


def test_each_endpoint_of_prod_is_asked_for_a_prediction_after_an_update() -> None:
    stack = yaml.safe_load((CHECKOUT / "Pulumi.prod.yaml").read_text())
    rows = {path.stem for path in (CHECKOUT / ".ci/smoke").glob("*.csv")}
    assert rows == stack["config"]["mlops:endpoints"].keys()


def commands() -> Iterator[tuple[str, Sequence[str]]]:
    """Yield each command line of `mlops` in the workflows and in docs/ci.md, with its place."""
    page = (CHECKOUT / "docs/ci.md").read_text()
    examples = [*re.findall(r"```\w+\n(.*?)```", page, re.DOTALL), *re.findall(r"`(mlops [\w-]+ [^`]+)`", page)]
    blocks = {"docs/ci.md": "\n".join(examples)}
    for where, text in {**SCRIPTS, **blocks}.items():
        plain = re.sub(r"\$\{\w+:\+([^}]*)\}", r"\1", text)  # ${NAME:+words} is these words, or nothing
        plain = re.sub(r"\$\((?:[^()])*\)", "1", plain)
        for found in re.finditer(r"(?<![\w./-])mlops (?! )[^\n|;&#]+", plain):
            yield where, [re.sub(r"\$\{?\w+\}?", "1", word) for word in shlex.split(found.group())]


@pytest.mark.parametrize(("where", "words"), list(commands()))
def test_a_command_exists_with_these_options_and_arguments(where: str, words: Sequence[str]) -> None:
    command: Command = tree()
    rest = words[1:]
    while isinstance(command, TyperGroup):
        assert rest[0] in command.commands, f"{where}: {shlex.join(words)}"
        command, rest = command.commands[rest[0]], rest[1:]
    context = typer.Context(command)
    values, left, _ = command.make_parser(context).parse_args(list(rest))
    assert not left
    missing = [parameter.name for parameter in command.params if parameter.required and not values.get(parameter.name)]
    assert not missing, f"{where}: {shlex.join(words)}"


def tree() -> TyperGroup:
    found = get_command(app)
    assert isinstance(found, TyperGroup)
    return found
