"""Results of runs from a real MLflow server, behind a fake kubectl."""

from collections.abc import Sequence

import httpx
import mlflow
import pytest
from mlflow.tracking import MlflowClient

from contract import names
from runs.cluster import Cluster
from runs.errors import ClusterError
from runs.tracking import TokenAuth, connected
from tests.command import Command
from tests.registry import MODEL, Registry
from tests.runs.world import JOB, World, complete, container, ended, job, pod, row, template, unschedulable

pytestmark = pytest.mark.long

CHURN = template()
POD = f"{JOB}-aaaaa"


@pytest.fixture
def client(registry: Registry) -> MlflowClient:
    """Return a client, and set MLflow's address for the process, which MLflow uses to find a logged model."""
    mlflow.set_tracking_uri(registry.uri)
    return MlflowClient(registry.uri)


@pytest.mark.usefixtures("mlflow")
def test_a_run_is_followed_from_its_queue_to_its_version(world: World, mlops: Command, client: MlflowClient) -> None:
    experiment = client.get_experiment_by_name(MODEL) or client.get_experiment(client.create_experiment(MODEL))
    told = client.create_run(experiment.experiment_id, tags={"job_name": JOB})
    client.log_metric(told.info.run_id, "roc_auc", 0.8123)
    model = client.create_logged_model(experiment.experiment_id, "model", source_run_id=told.info.run_id)
    client.create_registered_model("followed")
    version = client.create_model_version("followed", f"models:/{model.model_id}", told.info.run_id)
    world.scenes(
        [CHURN],
        [CHURN, job(CHURN), pod("Pending", **unschedulable("0/2 nodes are available: 2 Insufficient cpu."))],
        [CHURN, job(CHURN), pod("Pending", **container(waiting={"reason": "ContainerCreating"}))],
        [CHURN, job(CHURN), pod("Running", **container(running={}))],
        [CHURN, job(CHURN, status=complete()), pod("Succeeded", **ended(0))],
    )
    world.log(POD, "reading s3://b/k", "[bold] is no markup")
    code, said = mlops("train", "churn", "--no-validate")
    lines = said.splitlines()
    assert code == 0
    assert f"{POD} Pending: 0/2 nodes are available: 2 Insufficient cpu." in lines
    assert f"{POD} Pending: ContainerCreating" in lines
    assert lines.index("reading s3://b/k") < lines.index("[bold] is no markup")
    assert lines[-4:] == [
        f"{JOB} succeeded after 01:35",
        f"run      http://localhost:5000/#/experiments/{experiment.experiment_id}/runs/{told.info.run_id}",
        "metrics  roc_auc 0.812",
        f"version  followed {version.version}",
    ]


@pytest.mark.usefixtures("mlflow")
def test_a_sweep_shows_the_metrics_and_the_version_of_its_best_point(
    world: World, mlops: Command, client: MlflowClient
) -> None:
    experiment = client.get_experiment_by_name(MODEL)
    number = experiment.experiment_id if experiment else client.create_experiment(MODEL)
    parent = client.create_run(number, tags={"job_name": "churn-swept"}).info.run_id
    tags = {"job_name": "churn-swept", "mlflow.parentRunId": parent}
    best, other = (client.create_run(number, tags=tags).info.run_id for _ in range(2))
    for run, value in ((parent, 0.9), (best, 0.9), (other, 0.7)):
        client.log_metric(run, "roc_auc", value)
    client.set_tag(parent, "best_run", best)
    model = client.create_logged_model(number, "model", source_run_id=best)
    client.create_registered_model("listed")
    client.create_model_version("listed", f"models:/{model.model_id}", best)
    world.scenes([CHURN, job(CHURN, name="churn-swept", status=complete()), job(CHURN, name="churn-silent")])
    said = mlops("runs")[1]
    assert row(said, "churn-swept").endswith("01:35 roc_auc 0.900 listed 1")
    assert "roc_auc" not in row(said, "churn-silent")


@pytest.mark.usefixtures("mlflow")
def test_a_run_whose_job_was_replaced_is_still_listed(world: World, mlops: Command, client: MlflowClient) -> None:
    experiment = client.get_experiment_by_name(MODEL)
    number = experiment.experiment_id if experiment else client.create_experiment(MODEL)
    for name, status, of in (
        ("churn-was", "FINISHED", "churn"),
        ("churn-fell", "FAILED", "churn"),
        ("x-1", "FAILED", "x"),
    ):
        run = client.create_run(number, tags={"job_name": name, "training_job": of, "best_run": "x' or y = 'z"})
        client.log_metric(run.info.run_id, "roc_auc", 0.7)
        client.set_terminated(run.info.run_id, status)
    world.scenes([CHURN, job(CHURN, name="churn-now", status=complete())])
    said = mlops("runs", "--name", "churn")[1]
    assert row(said, "churn-was").startswith("churn-was churn Succeeded ")
    assert row(said, "churn-was").endswith("00:00 roc_auc 0.700")
    assert row(said, "churn-fell").startswith("churn-fell churn Failed ")
    assert row(said, "churn-now").startswith("churn-now churn runs Succeeded ")
    assert "x-1" not in said


SCRIPT = template({"training.churn.image": "lab.local/team:1", "training.churn.command": ["python", "train.py"]})


@pytest.mark.usefixtures("mlflow")
@pytest.mark.parametrize(
    ("made", "said"),
    [
        (
            None,
            "the script of churn logged no run of this Job to MLflow, so no version of churn-predictor can be found",
        ),
        (
            "",
            "the script of churn registered no version, so there is nothing to validate or serve; call log_model with",
        ),
        (
            "mine",
            "the script of churn registered mine version 1, and the training job is for the model churn-predictor",
        ),
    ],
)
def test_a_script_that_registers_nothing_or_another_model_fails(
    world: World, mlops: Command, client: MlflowClient, made: str | None, said: str
) -> None:
    name = f"script-{len(said)}"
    if made is not None:
        experiment = client.get_experiment_by_name(MODEL)
        number = experiment.experiment_id if experiment else client.create_experiment(MODEL)
        run = client.create_run(number, tags={"job_name": name}).info.run_id
        if made:
            model = client.create_logged_model(number, "model", source_run_id=run)
            client.create_registered_model(made)
            client.create_model_version(made, f"models:/{model.model_id}", run)
    world.scenes([SCRIPT, job(SCRIPT, name=name, status=complete()), pod("Succeeded", of=name, **ended(0))])
    code, told = mlops("follow", name)
    assert code == 2
    assert said in told


@pytest.mark.usefixtures("mlflow")
def test_the_newest_version_and_the_metrics_of_a_version_are_read(client: MlflowClient) -> None:
    client.create_registered_model("measured")
    with connected(Cluster()) as tracking:
        assert tracking.newest_version("measured") is None
    run = client.create_run(client.create_experiment("measured")).info.run_id
    client.log_metric(run, "roc_auc", 0.8)
    model = client.create_logged_model(client.get_run(run).info.experiment_id, "model", source_run_id=run)
    for _ in range(2):
        client.create_model_version("measured", f"models:/{model.model_id}", run)
    with connected(Cluster()) as tracking:
        assert (tracking.newest_version("measured"), tracking.metrics("measured", 1)) == (2, {"roc_auc": 0.8})
        with pytest.raises(ClusterError, match="404"):
            tracking.metrics("measured", 3)


@pytest.mark.parametrize(("is_asked", "got"), [(True, [names.PEOPLE]), (False, [])])
def test_a_token_is_got_once_and_only_if_mlflow_asks_for_one(*, is_asked: bool, got: Sequence[str]) -> None:
    accounts = list[str]()

    class Tokens(Cluster):
        def token(self, account: str) -> str:
            accounts.append(account)
            return "secret"

    def responds(request: httpx.Request) -> httpx.Response:
        knows = request.headers.get("Authorization") == "Bearer secret"
        return httpx.Response(200 if knows or not is_asked else 401)

    auth = TokenAuth(Tokens(), names.PEOPLE)
    with httpx.Client(transport=httpx.MockTransport(responds), auth=auth) as http:
        statuses = [http.get("http://mlflow/a").status_code, http.post("http://mlflow/b", json={}).status_code]
    assert (statuses, accounts) == ([200, 200], got)
