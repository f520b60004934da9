"""Wrong stack files with the real engine: all problems are reported at once, and nothing is changed."""

import json
import re
import shutil
from pathlib import Path

import pytest

from infra.config import parameters
from tests.projects import CHECKOUT, Engine, Project, Run
from tests.stacks import LOCAL, SECRETS, Absent, changed

pytestmark = pytest.mark.engine

WRONG: dict[str, tuple[object, str]] = {
    "endpoints.unknown-key": ({"version": 1, "verson": 2}, "unknown-key.verson is unknown: .* did you mean version?"),
    "endpoints.wrong-type": ({"version": [1]}, r"wrong-type.version is \[1\]: must be a whole number of at least 1"),
    "endpoints.zero": ({"version": 0}, "zero.version is 0: must be a whole number of at least 1"),
    "endpoints.latest": ({"version": "latest"}, 'latest.version is "latest": must be a whole number of at least 1'),
    "endpoints.quoted": ({"version": "2"}, 'quoted.version is "2": must be .* without quotes'),
    "endpoints.truth": ({"version": True}, "truth.version is true: must be a whole number of at least 1"),
    "endpoints.replicas": (
        {"version": 1, "replicas": {"min": 3, "max": 2}},
        "replicas.replicas.max is 2: must be at least 3, the value of min",
    ),
    "endpoints.Bad_Name": ({"version": 1}, r'Bad_Name is "Bad_Name": must be a DNS label \(RFC 1123\)'),
    "training.churn.node_pool": ("tpu", 'churn.node_pool is "tpu": must name a pool .* write one of cpu, gpu'),
    "training.churn.deadline_minutes": (
        Absent(),
        "churn.deadline_minutes is missing: must be a whole number of minutes",
    ),
    "training.on-cpu": (
        {**LOCAL["training"]["churn"], "gpus": 1},
        "on-cpu.gpus is 1: must be left out on pool cpu, because its nodes have no GPU; choose node_pool: gpu",
    ),
    "training.big": (
        {**LOCAL["training"]["churn"], "cpu": 100},
        "big.cpu is 100: must be at most 64, the value of mlops:quotas.training.cpu",
    ),
    "foundation.images.postgres": ("lab.local/postgres:latest", "with a tag other than latest, or with a digest"),
    "trainig": ({}, "mlops:trainig is unknown: .* did you mean training?"),
}


def up(project: Project) -> Run:
    run = project.up()
    assert not run.succeeded
    assert run.steps == [], "nothing is asked of any provider"
    assert {resource["type"] for resource in project.state()} <= {"pulumi:pulumi:Stack"}
    assert "Traceback" not in run.output
    assert "unhandled error" not in run.output
    assert len(run.messages().split("nothing was touched")) == 2, "it is said once, and nothing after it"
    return run


def test_every_wrong_value_is_reported_in_one_run_and_nothing_is_touched(engine: Engine, tmp_path: Path) -> None:
    stack = changed({path: value for path, (value, _) in WRONG.items()})
    secrets = {"artifact_store_access_key": SECRETS["artifact_store_access_key"]}
    project = engine.our_program(tmp_path, {**stack, "database_password": "a-password-in-plain-text"}, secrets)
    said = up(project).messages()
    headline, *lines = [line for line in said.splitlines() if "Pulumi.test.yaml" in line]
    assert headline.endswith(f"{len(lines)} problems in Pulumi.test.yaml; nothing was touched")
    assert len(lines) == len(WRONG) + 2
    for path, (_, sentence) in WRONG.items():
        assert [line for line in lines if re.search(sentence, line)], path
    assert "mlops:artifact_store_secret_key is missing" in said
    assert "run pulumi config set --secret mlops:artifact_store_secret_key" in said
    assert "a-password-in-plain-text" not in said


def test_a_version_that_yaml_reads_as_another_is_refused_with_both(engine: Engine, tmp_path: Path) -> None:
    project = engine.our_program(tmp_path, LOCAL, SECRETS)
    # The program is in a folder of the project, as in the checkout.
    shutil.copytree(CHECKOUT / "infra", tmp_path / "infra")
    (tmp_path / "Pulumi.yaml").write_text("{name: mlops, runtime: python, main: infra}")
    file = tmp_path / "Pulumi.test.yaml"
    right = file.read_text()
    for written, read in {"08": 8, "010": 8, "1.0": 1, "1_0": 10}.items():
        file.write_text(right.replace("version: 1\n", f"version: {written}\n"))
        said = up(project).messages()
        assert f"churn-predictor.version is written {written}, which YAML reads as {read}: must be written in" in said


def test_what_the_engines_own_commands_write_is_accepted(engine: Engine, tmp_path: Path) -> None:
    project = engine.our_program(tmp_path, changed({"training.churn.image": "lab.local/mine:1"}), SECRETS)
    for path, value in {
        "endpoints.churn-predictor.version": "2",
        "endpoints.churn-predictor.cpu": "0.5",
        "endpoints.churn-predictor.prediction_log.sample": "0.5",
        "training.churn.parameters.learning_rate": "1e-3",
        "training.churn.parameters.balanced": "true",
    }.items():
        project.pulumi("config", "set", "--path", f"mlops:{path}", value)
    run = project.preview()
    assert run.succeeded, run.output


PROBE = """
import pulumi

pulumi.export("given", pulumi.Config("probe").require("training"))
"""


def test_pulumi_hands_over_what_the_check_of_parameters_takes_for_misread(engine: Engine, tmp_path: Path) -> None:
    project = engine.project(tmp_path, PROBE)
    file = tmp_path / "Pulumi.test.yaml"
    texts = ["010", "0x1F", "1_000", "1.10", "1.0", "2026-01-02", "2026-01-02T10:00:00Z", "9007199254740993", "08"]
    listed = "".join(f"        p{place}: {text}\n" for place, text in enumerate(texts))
    written = f"  probe:training:\n    churn:\n      image: lab.local/mine:1\n      parameters:\n{listed}"
    head = file.read_text() if file.exists() else ""
    file.write_text(f"{head}config:\n{written}")
    run = project.up()
    assert run.succeeded, run.output
    given = json.loads(run.outputs["given"])
    file.write_text(file.read_text().replace("probe:training", "mlops:training"))
    found = {problem.path.rpartition(".")[2] for problem in parameters.problems(given, file)}
    assert found == {f"p{place}" for place, text in enumerate(texts) if text != "9007199254740993"}
