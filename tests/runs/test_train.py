"""`mlops train`: the created Job, the output during the run, and the exit code."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from runs import follow
from tests.command import Command
from tests.runs.world import (
    JOB,
    World,
    complete,
    container,
    ended,
    failed,
    job,
    pod,
    template,
    warning,
)

CHURN = template()
POD = f"{JOB}-aaaaa"


def still_there(world: World) -> list[str]:
    """Return the pids of fake programs that still run after the command."""
    environments = Path("/proc").glob("[0-9]*/environ")
    return [str(each) for each in environments if f"WORLD={world.folder}".encode() in _read(each)]


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""


def variables(job: dict[str, Any]) -> dict[str, Any]:
    (train,) = job["spec"]["template"]["spec"]["containers"]
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in train["env"]}


def test_the_job_differs_from_the_declared_one_in_the_given_values_and_who_asked_alone(
    world: World, mlops: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "ada")
    world.scenes([CHURN], [CHURN, job(CHURN, status=complete())])
    mlops("train", "churn", "N_ESTIMATORS=300")
    made = world.created
    assert made
    declared, given = variables({"spec": CHURN["spec"]["jobTemplate"]["spec"]}), variables(made)
    assert json.loads(given.pop("PARAMETERS")) == {"n_estimators": 300, "max_depth": 10}
    assert given.pop("REQUESTER") == "ada"
    del declared["PARAMETERS"]
    assert given == declared
    container, template = (
        each["template"]["spec"]["containers"][0] for each in (made["spec"], CHURN["spec"]["jobTemplate"]["spec"])
    )
    assert container | {"env": []} == template | {"env": []}
    assert made["spec"] | {"template": 0} == CHURN["spec"]["jobTemplate"]["spec"] | {"template": 0}


def test_the_job_belongs_to_what_it_was_made_from_and_not_to_pulumi(world: World, mlops: Command) -> None:
    world.scenes([CHURN], [CHURN, job(CHURN, status=complete())])
    mlops("train", "churn", "max_depth=3")
    made = world.created
    assert made
    (owner,) = made["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"]) == ("CronJob", "churn", "0c7d")
    assert made["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "runs"
    assert made["metadata"]["annotations"]["mlops/given"] == '{"max_depth": 3}'


def test_without_values_it_is_the_declared_run(world: World, mlops: Command) -> None:
    world.scenes([CHURN], [CHURN, job(CHURN, status=complete())])
    assert mlops("train", "churn")[0] == 0
    assert world.created
    assert variables(world.created)["PARAMETERS"] == '{"max_depth": 10, "n_estimators": 100}'


IMAGE = f"registry.example.com/training@sha256:{'a' * 64}"


@pytest.mark.parametrize("commit", ["b" * 40, None])
def test_another_image_runs_under_its_own_name_and_commit(world: World, mlops: Command, commit: str | None) -> None:
    world.scenes([CHURN], [CHURN, job(CHURN, status=complete())])
    assert mlops("train", "churn", "--image", IMAGE, *(["--commit", commit] if commit else []))[0] == 0
    made = world.created
    assert made
    (container,) = made["spec"]["template"]["spec"]["containers"]
    assert container["image"] == IMAGE
    assert "GIT_COMMIT" in variables({"spec": CHURN["spec"]["jobTemplate"]["spec"]})
    assert (variables(made)["IMAGE"], variables(made).get("GIT_COMMIT")) == (IMAGE, commit)


REFUSED: list[tuple[str, list[str], str]] = [
    (
        "churn",
        ["N_ESTIMATOR=3"],
        "churn has no parameter n_estimator; it has max_depth, n_estimators; did you mean n_est",
    ),
    ("churn", ["RATE=3"], "declare it under mlops:training.churn.parameters"),
    ("churn", ["N_ESTIMATORS=many"], "must be a number, because the stack file declares 100"),
    ("churn", ["MAX_DEPTH=0"], "max_depth=0: must be a whole number of at least 1 and of at most 100, because it is"),
    ("churn", ["MAX_DEPTH=2.5"], "max_depth=2.5: must be a whole number"),
    ("churn", ["N_ESTIMATORS"], "N_ESTIMATORS does not set a parameter; write NAME=value"),
    ("churn", ["MAX_DEPTH=1", "MAX_DEPTH=2"], "MAX_DEPTH is given twice, as 1 and as 2"),
    ("chrun", [], "there is no training job chrun; the stack has churn; did you mean churn?"),
    ("zebra", [], "declare it under mlops:training and run pulumi up"),
    ("churn", ["--image", "mine:1"], "image 'mine:1' has no digest"),
    ("churn", ["--image", IMAGE, "--commit", "main"], "commit 'main' is not 40 digits"),
    ("churn", ["--commit", "b" * 40], "--commit names the code of --image"),
    ("churn", ["--data", "x.csv", "--image", IMAGE], "are for a cluster; leave out --data or the others"),
]


@pytest.mark.parametrize(("name", "values", "said"), REFUSED)
def test_what_is_wrong_is_reported_before_anything_is_made(
    world: World, mlops: Command, *, name: str, values: list[str], said: str
) -> None:
    world.scenes([CHURN])
    code, line = mlops("train", name, *values)
    assert code == 2
    assert line.startswith("mlops: ")
    assert said.lower() in line.lower()
    assert world.created is None


@pytest.mark.parametrize(
    ("declared", "text", "value"),
    [
        (True, "False", False),
        (0.5, "2", 2),
        (1, "0.5", 0.5),
        ("rbf", "1e3", "1e3"),
        (3, "-4", -4),
        ("a", "$(HOME)", "$(HOME)"),
    ],
)
def test_a_value_has_the_declared_type(
    world: World, mlops: Command, *, declared: object, text: str, value: object
) -> None:
    churn = template({"training.churn.parameters": {"x": declared}, "training.churn.image": "lab.local/mine:1"})
    world.scenes([churn])
    code, said = mlops("train", "churn", f"X={text}", "--dry-run")
    assert code == 0
    read = json.loads(variables(yaml.safe_load(said))["PARAMETERS"].replace("$$", "$"))["x"]
    assert (read, type(read)) == (value, type(value))


@pytest.mark.parametrize(("declared", "text"), [(True, "1"), (0.5, "nan"), (0.5, "half"), (3, "inf")])
def test_a_value_of_another_type_is_refused(world: World, mlops: Command, *, declared: object, text: str) -> None:
    image = {"training.churn.image": "lab.local/mine:1"}
    world.scenes([template({"training.churn.parameters": {"x": declared}} | image)])
    code, said = mlops("train", "churn", f"X={text}")
    assert code == 2
    assert f"x={text}: must be " in said


@pytest.mark.parametrize("key", ["image", "command"])
def test_the_range_of_a_parameter_of_other_code_is_not_known(world: World, mlops: Command, key: str) -> None:
    world.scenes([template({f"training.churn.{key}": "lab.local/mine:1" if key == "image" else ["mine"]})])
    assert mlops("train", "churn", "MAX_DEPTH=0", "--dry-run")[0] == 0


def test_a_parameter_may_have_capitals(world: World, mlops: Command) -> None:
    own = {"training.churn.parameters": {"C": 1.5, "depth": 2}, "training.churn.image": "lab.local/mine:1"}
    world.scenes([template(own)])
    for word in ("C=0.5", "c=0.5"):
        code, said = mlops("train", "churn", word, "--dry-run")
        assert (code, variables(yaml.safe_load(said))["PARAMETERS"]) == (0, '{"C": 0.5, "depth": 2}')
    code, said = mlops("train", "churn", "C=0.5", "c=0.7")
    assert code == 2
    assert "C is given twice" in said


def test_a_parameter_in_a_secret_cannot_be_given_on_a_command_line(world: World, mlops: Command) -> None:
    hidden = {"training.churn.parameters": {"api_key": {"secret": "geocoder", "key": "token"}}}
    world.scenes([template(hidden | {"training.churn.image": "lab.local/mine:1"})])
    code, said = mlops("train", "churn", "API_KEY=hunter2")
    assert code == 2
    assert "api_key: churn reads it from a Secret" in said
    assert "hunter2" not in said


def test_a_swept_parameter_is_the_sweeps(world: World, mlops: Command) -> None:
    sweep = {"grid": {"max_depth": [1, 2]}, "max_parallel": 1}
    world.scenes([template({"training.churn.sweep": sweep})])
    code, said = mlops("train", "churn", "MAX_DEPTH=3")
    assert code == 2
    assert "churn sweeps max_depth, so each point has its own" in said
    assert mlops("train", "churn", "N_ESTIMATORS=3", "--dry-run")[0] == 0


def test_a_dry_run_prints_the_job_and_makes_nothing(world: World, mlops: Command) -> None:
    world.scenes([CHURN])
    code, said = mlops("train", "churn", "MAX_DEPTH=3", "--dry-run")
    printed = yaml.safe_load(said)
    assert (code, printed["kind"], printed["metadata"]["generateName"]) == (0, "Job", "churn-")
    assert world.created is None
    assert not [line for line in world.asked if "create" in line]


@pytest.mark.parametrize(
    ("status", "last", "code", "said"),
    [
        (
            failed("PodFailurePolicy", "..."),
            ended(2, "reading\nb.csv lacks the column x"),
            2,
            "b.csv lacks the column x",
        ),
        (failed("BackoffLimitExceeded", "..."), ended(137, "", "OOMKilled"), 1, "BackoffLimitExceeded: ..."),
        (
            failed("DeadlineExceeded", "Job was active longer than specified deadline"),
            None,
            1,
            "DeadlineExceeded: Job was",
        ),
    ],
)
def test_a_failure_ends_with_its_reason_and_tells_bad_input_apart(
    world: World, mlops: Command, *, status: dict[str, Any], last: dict[str, Any] | None, code: int, said: str
) -> None:
    pods = [pod("Failed", **last)] if last else []
    world.scenes([CHURN], [CHURN, job(CHURN, status=status), *pods])
    world.log(POD, "reading")
    ended_with, text = mlops("train", "churn")
    assert ended_with == code
    assert f"{JOB} failed after 10:00: {said}" in text


def test_a_sweep_that_failed_names_its_points(world: World, mlops: Command) -> None:
    churn = template({"training.churn.sweep": {"grid": {"max_depth": [1, 2]}, "max_parallel": 2}})
    status = failed("FailedIndexes", "Job has failed indexes") | {"failedIndexes": "1"}
    world.scenes(
        [churn], [churn, job(churn, status=status), pod("Failed", index="1", **ended(2, "max_depth is wrong"))]
    )
    world.log(POD)
    code, said = mlops("train", "churn")
    assert code == 2
    assert "failed after 10:00: points 1: max_depth is wrong" in said


def test_a_container_that_kubernetes_killed_says_why(world: World, mlops: Command) -> None:
    status = failed("BackoffLimitExceeded", "Job has reached the specified backoff limit")
    world.scenes([CHURN], [CHURN, job(CHURN, status=status), pod("Failed", **ended(137, "", "OOMKilled"))])
    world.log(POD)
    assert f"{POD} Failed: OOMKilled: exit code 137" in mlops("train", "churn")[1]


def test_a_pod_that_is_not_let_in_is_a_reason_too(world: World, mlops: Command) -> None:
    quota = "Error creating: pods is forbidden: exceeded quota: ml-training"
    world.scenes([CHURN], [CHURN, job(CHURN), warning(JOB, quota)], [CHURN, job(CHURN, status=complete())])
    assert f"{JOB} no pod yet: {quota}" in mlops("train", "churn")[1]


def test_a_log_whose_connection_breaks_goes_on_where_it_was(world: World, mlops: Command) -> None:
    running = [CHURN, job(CHURN), pod("Running", **container(running={}))]
    world.scenes([CHURN], running, running, [CHURN, job(CHURN, status=complete()), pod("Succeeded", **ended(0))])
    world.log(POD, "one", "two", "three", "four", breaks_after=2)
    said = mlops("train", "churn")[1].splitlines()
    assert [line for line in said if line in {"one", "two", "three", "four"}] == ["one", "two", "three", "four"]
    assert f"{POD} log error: unexpected EOF" in said


def test_the_points_of_a_sweep_are_distinguished(world: World, mlops: Command) -> None:
    churn = template({"training.churn.sweep": {"grid": {"max_depth": [1, 2]}, "max_parallel": 2}})
    pods = [pod("Running", name=f"{JOB}-{i}-aaaaa", index=i, **container(running={})) for i in ("0", "1")]
    world.scenes([churn], [churn, job(churn), *pods], [churn, job(churn, status=complete()), *pods])
    for i in "01":
        world.log(f"{JOB}-{i}-aaaaa", f"depth {i}")
    said = mlops("train", "churn")[1]
    assert "[0] depth 0" in said
    assert "[1] depth 1" in said


def test_ctrl_c_leaves_the_run_to_itself_and_says_how_to_follow_it_again(world: World) -> None:
    world.scenes([CHURN], [CHURN, job(CHURN), pod("Running", **container(running={}))])
    world.log(POD, "fitting", goes_on=True)
    command = [sys.executable, "-c", "from cli.main import main; main()", "train", "churn"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ
    ) as started:
        assert started.stdout
        assert any("fitting" in line for line in started.stdout)
        started.send_signal(signal.SIGINT)
        rest = started.stdout.read()
        assert started.wait() == 130
    assert not still_there(world)
    assert f"{JOB} continues; follow it again with: mlops follow {JOB}" in rest
    assert not [line for line in world.asked if "delete" in line]


def test_a_run_can_be_followed_again(world: World, mlops: Command) -> None:
    world.scenes([CHURN, job(CHURN, status=complete()), pod("Succeeded", **ended(0))])
    world.log(POD, "fitting")
    code, said = mlops("follow", JOB)
    assert code == 0
    assert "fitting" in said
    assert "there is no run churn-1 in the cluster; write one that `mlops runs` lists" in mlops("follow", "churn-1")[1]


def test_a_run_that_is_deleted_meanwhile_ends_the_following(world: World, mlops: Command) -> None:
    world.scenes([CHURN], [CHURN, job(CHURN)], [CHURN])
    code, said = mlops("train", "churn")
    assert code == 1
    assert f"the Job {JOB} is gone" in said


def test_a_cluster_that_stops_answering_is_waited_for_and_then_reported(
    world: World, mlops: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "MOST_FAILED_POLLS", 3)
    code, said = mlops("train", "churn", "--context", "elsewhere")
    assert (code, world.created) == (1, None)
    assert 'error: context "elsewhere" does not exist' in said
    world.scenes([CHURN], [CHURN, job(CHURN)])
    (world.folder / "scenes" / "002").write_text("not JSON: kubectl fails")
    code, said = mlops("train", "churn")
    assert code == 1
    assert f"{JOB} may still run; follow it again with: mlops follow {JOB}" in said


def test_without_mlflow_the_end_is_reported_nevertheless(world: World, mlops: Command) -> None:
    world.scenes([CHURN], [CHURN, job(CHURN, status=complete())])
    code, said = mlops("train", "churn")
    assert code == 0
    assert "Service mlflow cannot be reached through kubectl: error: unable to forward port" in said


def test_without_kubectl_it_says_so(mlops: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("KUBECONFIG", "anywhere")
    monkeypatch.setenv("LAB_CACHE", str(tmp_path))
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    code, said = mlops("train", "churn")
    assert code == 1
    assert said == "mlops: kubectl is not on PATH, but this command needs it to reach the cluster; install kubectl\n"


def test_the_former_program_of_runs_still_starts(world: World) -> None:
    world.scenes([CHURN])
    command = [Path(sys.executable).with_name("runs"), "train", "churn", "MAX_DEPTH=3", "--dry-run"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("\n") == 1
    assert '"max_depth": 3' in done.stdout


def test_a_script_gets_a_given_parameter_as_text_and_its_run_the_name_of_who_asked(
    world: World, mlops: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "ada")
    script = template({"training.churn.image": "lab.local/team:1", "training.churn.command": ["python", "train.py"]})
    world.scenes([script], [script, job(script, status=complete())])
    mlops("train", "churn", "N_ESTIMATORS=300", "--no-validate")
    assert world.created
    given = variables(world.created)
    assert (given["N_ESTIMATORS"], given["MAX_DEPTH"]) == ("300", "10")
    assert json.loads(given["PARAMETERS"])["n_estimators"] == 300
    names = list(given)
    context = json.loads(given["MLFLOW_RUN_CONTEXT"])
    assert context["requester"] == "ada"
    assert {"JOB_NAME", "DATASET", "IMAGE"} <= set(names[: names.index("MLFLOW_RUN_CONTEXT")]), "they are referred to"
