"""Choice of the cluster and the MLflow that a command uses."""

import json
import os
import sys
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from cli import target
from cli.errors import CommandError
from lab import paths
from lab.stack import SECRETS
from tests.command import Command
from tests.model_preview.server import says, server

LAB_MLFLOW = "http://localhost:5001"


@pytest.fixture(autouse=True)
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set up a running lab, and an environment that names no other cluster or MLflow."""
    for name in ("KUBECONFIG", "MLFLOW_TRACKING_URI"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("LAB_STATE", str(tmp_path))
    monkeypatch.setattr(os, "environ", dict(os.environ))
    paths.kubeconfig().touch()
    paths.open_ports().write_text(json.dumps({"mlflow": 5001, "s3": 7071}))
    paths.secrets().write_text(json.dumps({name: f"the {name}" for name in SECRETS}))


def test_without_a_word_it_is_the_cluster_of_the_lab_with_the_labs_kubectl() -> None:
    found = target.cluster(None)
    assert found.context is None
    assert found.environment
    assert found.environment["KUBECONFIG"] == str(paths.kubeconfig())
    assert found.environment["PATH"].startswith(f"{Path(sys.prefix) / 'bin'}{os.pathsep}{paths.binaries()}{os.pathsep}")


@pytest.mark.parametrize(("context", "kubeconfig"), [("prod", ""), (None, "mine"), ("prod", "mine")])
def test_a_context_or_a_kubeconfig_names_another_cluster_with_the_users_kubectl(
    context: str | None, kubeconfig: str
) -> None:
    os.environ["KUBECONFIG"] = kubeconfig
    found = target.cluster(context)
    assert found.context == context
    assert found.environment
    assert found.environment["KUBECONFIG"] == kubeconfig
    assert found.environment["PATH"].startswith(f"{os.environ['PATH']}{os.pathsep}")


def test_without_a_word_it_is_the_mlflow_of_the_lab_and_the_keys_of_its_store() -> None:
    assert target.tracking(None) == LAB_MLFLOW
    assert os.environ["AWS_SECRET_ACCESS_KEY"] == "the artifact_store_secret_key"


def test_the_labs_stack_file_says_what_is_served_from_the_labs_registry_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "CHECKOUT", tmp_path)
    assert target.served(None) == []
    (tmp_path / "Pulumi.local.yaml").touch()
    assert target.served(None) == [f"{tmp_path}/Pulumi.local.yaml@local"]
    assert target.served("https://mlflow.example.com") == []


@pytest.mark.parametrize(
    ("option", "variable", "expected"),
    [("http://a", "", "http://a"), (None, "http://b", "http://b"), ("http://a", "http://b", "http://a")],
)
def test_another_mlflow_keeps_the_users_own_keys(
    option: str | None, variable: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "MLFLOW_TRACKING_URI", variable)
    monkeypatch.setitem(os.environ, "AWS_SECRET_ACCESS_KEY", "mine")
    assert target.tracking(option) == expected
    assert os.environ["AWS_SECRET_ACCESS_KEY"] == "mine"


def test_a_lab_that_is_down_is_reported_with_both_remedies() -> None:
    paths.open_ports().unlink()
    with pytest.raises(CommandError, match=r"start it with: lab up; or write --tracking-uri URI") as told:
        target.tracking(None)
    assert told.value.code == 1


@pytest.mark.parametrize("uri", ["mlflow", "ftp://mlflow", "http://", "http://a:port", "http://[::1", "http://a b"])
def test_an_address_that_no_mlflow_can_have_is_refused_before_a_request(uri: str, mlops: Command) -> None:
    for words in (["models"], ["promote", "m", 1, "staging"], ["train", "churn", "--data", "a.csv"]):
        code, said = mlops(*words, "--tracking-uri", uri)
        assert (code, said.count("\n")) == (2, 1)
        assert said.startswith(
            f"mlops: {uri!r} is not an address of MLflow; write --tracking-uri or MLFLOW_TRACKING_URI"
        )


def test_an_mlflow_that_fails_is_given_up_after_one_more_try(mlops: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", raising=False)
    asked: list[str] = []

    def fails(request: BaseHTTPRequestHandler) -> None:
        asked.append(request.path)
        says(500, "<html>no database</html>")(request)

    with server(fails) as uri:
        for words in (["models"], ["reproduce", "m", 1]):
            asked.clear()
            code, said = mlops(*words, "--tracking-uri", uri)
            assert (code, said.count("\n"), len(asked)) == (1, 1, 2)
            assert "a call to MLflow failed: too many 500 error responses" in said
