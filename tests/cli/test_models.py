import json
import os
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from rich.text import Text

from cli.main import run
from contract.stages import Stage, Step
from drift.retrain import Retraining
from tests.registry import MODEL, Registry
from training.registry import client as versions
from training.registry import promote
from training.registry.claim import Claim, Holder, write

MLOPS = Path(sys.executable).with_name("mlops")
NAME = f"shown-{os.getpid()}"


@pytest.fixture(scope="module")
def shown(registry: Registry) -> str:
    """Return the URI of a registry with a champion, a challenger and a refused version."""
    client = MlflowClient(registry.uri)
    client.create_registered_model(NAME)
    for status, against in (("passed", "none"), ("passed", "1"), ("refused", "1")):
        tags = {"validation_status": status, "validated_against": against, "roc_auc": "0.8431", "git_commit": 40 * "a"}
        client.create_model_version(NAME, str(registry.dataset), tags=tags)
    for version, stage in ((1, Stage.STAGING), (1, Stage.PRODUCTION), (2, Stage.STAGING)):
        asked = promote.Request(model=NAME, version=version, stage=stage, by="ada", commit="", why="")
        promote.promote(versions.connect(registry.uri), asked)
    return registry.uri


def table(uri: str, capsys: pytest.CaptureFixture[str], *arguments: str) -> list[list[str]]:
    assert run(["models", "--tracking-uri", uri, *arguments]) == 0
    return [line.split() for line in capsys.readouterr().out.splitlines()]


def test_the_table_has_the_stage_and_the_metrics_of_each_version(
    shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = table(shown, capsys, NAME, "--served", f"{NAME}=1@local")
    day = f"{datetime.now(UTC):%Y-%m-%d}"
    assert [cell for cell in lines[1] if ":" not in cell] == [
        NAME, "3", "none", "0.843", "refused", "against", "1", day, 12 * "a",
    ]  # fmt: skip
    assert lines[2][:4] == ["2", "staging", "@challenger", "0.843"]
    assert lines[3][:3] == ["1", "production", "@champion"]
    assert lines[3][-1] == "local"
    assert lines[-1] == ["3", "versions", "of", "1", "models"]


def test_without_a_name_all_models_are_shown(shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    first = {line[0] for line in table(shown, capsys) if line}
    assert {NAME, MODEL} <= first


@pytest.mark.parametrize("wrapped", [False, True], ids=["plain", "as pulumi config get --json writes it"])
def test_who_serves_what_is_read_from_a_file_of_endpoints(
    shown: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, *, wrapped: bool
) -> None:
    endpoints = {NAME: {"version": 2, "replicas": {"min": 1}}}
    file = tmp_path / "endpoints.json"
    file.write_text(json.dumps({"value": "", "objectValue": endpoints} if wrapped else endpoints))
    lines = table(shown, capsys, NAME, "--served", f"{file}@prod", "--served", f"{NAME}=2@dev")
    assert lines[2][-2:] == ["prod,", "dev"]


def test_who_serves_what_is_read_from_a_stack_file(
    shown: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "Pulumi.prod.yaml"
    file.write_text(f"config:\n  aws:region: eu-west-1\n  mlops:endpoints:\n    {NAME}: {{version: 2}}\n")
    assert table(shown, capsys, NAME, "--served", f"{file}@prod")[2][-1] == "prod"
    file.write_text("config: {}\n")
    assert table(shown, capsys, NAME, "--served", f"{file}@prod")[2][-1] != "prod"


def test_a_stack_file_says_which_version_is_challenger_shadow_or_batch_and_of_which_model(
    shown: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "Pulumi.prod.yaml"
    entry = {"model": NAME, "version": 1, "challenger": {"version": 2, "percent": 10}, "shadow": {"version": 3}}
    keys = {"mlops:endpoints": {"predictor": entry}, "mlops:batch": {NAME: {"version": 2}}}
    file.write_text(json.dumps({"config": keys}))
    assert run(["models", "--tracking-uri", shown, NAME, "--json", "--served", f"{file}@prod"]) == 0
    assert [row["served"] for row in json.loads(capsys.readouterr().out)] == [
        ["prod (shadow)"],
        ["prod (challenger, 10 %)", "prod (batch)"],
        ["prod"],
    ]


def test_it_is_json_for_a_program(shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "--tracking-uri", shown, NAME, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [(row["version"], row["stage"]) for row in told] == [(3, "none"), (2, "staging"), (1, "production")]


def test_a_promotion_that_is_half_done_is_reported(shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    step = Step(what="alias", key="champion", version=2)
    claim = Claim(asked="version 2 to production", by="ada", holder=Holder(host="there", pid=1), steps=(step,))
    client = versions.connect(shown)
    write(client, NAME, claim)
    try:
        lines = table(shown, capsys, NAME)
    finally:
        client.delete_registered_model_tag(NAME, claim.key)
    assert " ".join(lines[-2]).startswith(f"unfinished: {NAME}: ada began 0 s ago, on there, to move version 2 to")


FOREIGN = ["Bob's model", "both ' and \"", "[red]EU[bold] model", "a and b = 'c'", "100% `x`; --", "two\nlines"]


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the URI of a registry with unusual names and tags, as other programs write them."""
    folder = tmp_path_factory.mktemp("foreign")
    uri = f"sqlite:///{folder}/mlflow.db"
    client = MlflowClient(uri, uri)
    for name in FOREIGN:
        client.create_registered_model(name)
        versions.connect(uri).set_registered_model_tag(
            name, "promotion.mine", '{"asked": "x", "by": "y", "at": "2026-01-01T00:00:00"}'
        )
        tags = {"roc_auc": "n/a", "f1": "nan", "accuracy": "0.75", "validation_status": "[bold]maybe"}
        tags |= {"validation_turn": '{"by": "z", "until": "2026-01-01T00:00:00"}'}
        client.create_model_version(name, str(folder), tags=tags)
    return uri


def test_a_model_without_a_version_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    MlflowClient(uri, uri).create_registered_model("Bob's model")
    assert run(["models", "--tracking-uri", uri]) == 0
    assert capsys.readouterr().out.splitlines() == ["no version yet: Bob's model", "0 versions of 0 models"]


def test_models_of_other_people_are_listed_as_they_are_called(foreign: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "--tracking-uri", foreign]) == 0
    said = capsys.readouterr().out
    for name in FOREIGN:
        assert all(line in said for line in name.splitlines())
    assert said.count("0.750") == said.count("[bold]maybe") == len(FOREIGN)
    assert said.splitlines()[-1] == f"{len(FOREIGN)} versions of {len(FOREIGN)} models"


@pytest.mark.parametrize("name", FOREIGN)
def test_a_model_of_other_people_is_found_by_its_name(
    foreign: str, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    client = versions.connect(foreign)
    assert [found.name for found in versions.versions(client, name)] == [name]
    assert run(["models", "--tracking-uri", foreign, name, "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert (row["model"], row["metrics"]) == (name, {"accuracy": 0.75})
    with pytest.raises(versions.UnknownError, match="has no version 7; versions that exist: 1"):
        versions.version(client, name, 7)
    assert run(["promote", "--tracking-uri", foreign, name, "1", "staging"]) == 3
    assert f"run `mlops validate {shlex.quote(name)} 1`" in capsys.readouterr().err


def terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    for variable, value in {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": str(columns)}.items():
        monkeypatch.setenv(variable, value)


def test_on_a_terminal_of_80_columns_no_cell_is_cut(
    shown: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal(monkeypatch, 80)
    assert run(["models", "--tracking-uri", shown, NAME, "--served", f"{NAME}=1@local"]) == 0
    lines = Text.from_ansi(capsys.readouterr().out).plain.splitlines()
    assert max(map(len, lines[:-2])) <= 80
    assert "…" not in "".join(lines)
    assert lines[1].split()[:3] == [NAME, "3", "none"]
    assert lines[3].split()[-1] == "local"
    assert lines[-2].startswith("no room for commit, ")
    terminal(monkeypatch, 200)
    assert run(["models", "--tracking-uri", shown, NAME]) == 0
    assert 12 * "a" in Text.from_ansi(capsys.readouterr().out).plain


@pytest.mark.parametrize(("name", "expected"), [(MODEL, 0), ("no-such", 2)])
def test_a_reader_that_leaves_changes_neither_the_end_nor_the_code(shown: str, name: str, expected: int) -> None:
    command = [MLOPS, "models", "--tracking-uri", shown, name, "--json"]
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write) as output:
        ended = subprocess.run(command, stdout=output, stderr=subprocess.PIPE, text=True, check=False)
    assert ended.returncode == expected
    assert "Traceback" not in ended.stderr
    assert "BrokenPipe" not in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["no-such-model"], "there is no model no-such-model in the registry; models that exist: "),
        (["--served", "churn=latest@prod"], "write MODEL=VERSION@STACK, or FILE@STACK"),
        (["--served", "churn=1"], "write MODEL=VERSION@STACK, or FILE@STACK"),
    ],
)
def test_what_cannot_be_shown_is_reported_in_one_line(
    shown: str, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert run(["models", "--tracking-uri", shown, *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_a_model_of_another_task_has_the_columns_of_its_metrics(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    client = MlflowClient(uri, uri)
    client.create_registered_model("price")
    client.create_model_version("price", str(tmp_path), tags={"rmse": "528.67", "mae": "268.925", "r2": "0.98"})
    headings, row, *_ = table(uri, capsys)
    assert headings[:7] == ["model", "version", "stage", "aliases", "rmse", "mae", "r2"]
    assert row[:6] == ["price", "1", "none", "528.670", "268.925", "0.980"]


def test_drift_and_proposals_are_columns_of_the_models_that_have_them(
    registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    client, name = MlflowClient(registry.uri), f"{NAME}-drifting"
    client.create_registered_model(name)
    state = Retraining(job="churn-drift-1", at=datetime.now(UTC), why="drift", status="proposed", version=2)
    drift = {"drift_status": "drift", "drift_windows": "2", "retrain": state.model_dump_json()}
    client.create_model_version(name, str(registry.dataset), tags=drift)
    client.create_model_version(name, str(registry.dataset), tags={"proposed": '{"by": "drift"}'})
    lines = table(registry.uri, capsys, name)
    client.delete_registered_model(name)
    assert {"drift", "proposed"} <= {*lines[0]}
    assert "by drift" in " ".join(lines[1])
    assert "drift x2, retraining: proposed 2" in " ".join(lines[2])


def test_without_drift_the_table_has_no_column_for_it(shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert not {"drift", "proposed"} & {*table(shown, capsys, NAME)[0]}


def test_a_metric_of_the_projects_own_is_a_column_of_the_table(
    registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    client, name = MlflowClient(registry.uri), f"own-{os.getpid()}"
    client.create_registered_model(name)
    tags = {"own_metrics": '{"pinball": "smaller", "odd": "sideways"}', "pinball": "1.25", "odd": "7"}
    client.create_model_version(name, str(registry.dataset), tags=tags)
    client.create_model_version(name, str(registry.dataset), tags={"own_metrics": "[no", "rmse": "2"})
    heading, *rows = table(registry.uri, capsys, name)
    assert heading[4:6] == ["rmse", "pinball"]
    assert ["2.000" in rows[0], "1.250" in rows[1]] == [True, True]
