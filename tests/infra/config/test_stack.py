"""Messages about wrong stack files: one line with path, value, rule, reason and instruction for each problem."""

from collections.abc import Mapping
from pathlib import Path

import pulumi
import pytest
import yaml

from infra.config import stack
from tests.recording import record
from tests.stacks import LOCAL, SECRETS, Absent, changed


def problems(config: Mapping[str, object], secrets: Mapping[str, str] = SECRETS) -> list[str]:
    """Return the lines after the headline; an empty list for a valid file."""
    try:
        record(stack.read, config=config, secrets=secrets, stack="dev")
    except pulumi.RunError as error:
        headline, *lines = str(error).splitlines()
        assert headline.startswith(f"{len(lines)} problem")
        assert headline.endswith("in Pulumi.dev.yaml; nothing was touched")
        return lines
    return []


BATCH = {
    "model": "churn-predictor",
    "version": 1,
    "input": "s3://mlops-artifacts/datasets/customers/*.parquet",
    "output": "s3://mlops-artifacts/batch/churn",
    "deadline_minutes": 30,
}


def nightly(**changes: object) -> dict[str, object]:
    return {"nightly": {**BATCH, **changes}}


# path, value, part of the message, and the path in the message if it is another one
WRONG: list[tuple[str, object, str] | tuple[str, object, str, str]] = [
    ("foundation.kind", "gcp", 'is "gcp": must be local or aws'),
    ("foundation.kind", Absent(), "is missing: must be local or aws"),
    ("foundation.context", Absent(), "is missing: must name a context of the kubeconfig"),
    ("foundation.context", "two words", "must name a context"),
    ("foundation.storage_gib", 0, "is 0: must be a whole number of GiB"),
    ("foundation.storage_gib", "5Gi", 'is "5Gi": must be a whole number of GiB'),
    ("foundation.node_pools", {}, "is {}: must be a mapping of one pool or more"),
    ("foundation.node_pools.cpu.labels", {}, "must be one label or more"),
    ("foundation.node_pools.cpu.labels.a", True, "is true: must be a label's value, a text (in quotes"),
    (
        "foundation.node_pools.cpu.gpu",
        {"kind": "amd", "max": 1},
        'is "amd": must be nvidia',
        "foundation.node_pools.cpu.gpu.kind",
    ),
    ("foundation.node_pools.Big", {"labels": {"a": "b"}}, 'is "Big": must be a DNS label (RFC 1123)'),
    ("foundation.images.postgres", "lab.local/postgres:latest", "with a tag other than latest, or with a digest"),
    ("images.training", "training", "must be a full image name"),
    ("images.serving", "lab.local/serving", "with a tag other than latest"),
    ("images.serving", "lab.local:5000/serving", "with a tag other than latest"),
    ("images.serving", Absent(), "is missing: must be a full image name"),
    ("endpoints.churn-predictor.image", "lab.local/serving:latest", "must be auto, or a full image name"),
    ("endpoints.churn-predictor.image", "automatic", "write image: auto, or the name that `mlops image MODEL"),
    ("batch", {"churn-predictor": BATCH}, "used with the name churn-predictor: must not be the name of an endpoint"),
    (
        "batch",
        nightly(input="s3://b-b/mlflow/*.parquet"),
        "and a file name with one *",
        "batch.nightly.input",
    ),
    (
        "batch",
        nightly(input="s3://b-b/datasets/a.parquet"),
        "and a file name with one *",
        "batch.nightly.input",
    ),
    (
        "batch",
        nightly(output="s3://b-b/datasets/out"),
        "must be a folder below s3://BUCKET/batch/",
        "batch.nightly.output",
    ),
    ("batch", nightly(workers=0), "must be a whole number from 1 to 1000", "batch.nightly.workers"),
    ("batch", nightly(workers=999), "must fit mlops:quotas.serving"),
    (
        "batch",
        nightly(version="latest"),
        "must be a whole number of at least 1, without quotes",
        "batch.nightly.version",
    ),
    ("batch", nightly(schedule="0 25 * * *"), "hour", "batch.nightly.schedule.cron"),
    ("images.training_commit", "main", "must be a git commit"),
    ("images.training_commit", 1234567, "must be a git commit: 7 to 40 hexadecimal digits, in quotes"),
    ("images.server", "lab.local/x:1", "is unknown: must be a key that this program reads"),
    (
        "quotas.serving",
        {"cpu": -1, "memory": "9Gi", "pods": 9},
        "is -1: must be an amount of CPU above 0",
        "quotas.serving.cpu",
    ),
    ("quotas.serving", {"cpu": 9, "memory": "9Gi"}, "is missing: must be a whole number", "quotas.serving.pods"),
    ("tracking.replicas", 0, "is 0: must be a whole number from 1 to 1000"),
    ("tracking.workers", 1.5, "is 1.5: must be a whole number from 1 to 32"),
    ("tracking.allowed_hosts", "localhost", "must be a list"),
    (
        "tracking.allowed_hosts",
        ["http://localhost"],
        'is "http://localhost": must be a host name',
        "tracking.allowed_hosts.0",
    ),
    ("tracking.replica", 3, "did you mean replicas?"),
    ("training", [], "is []: must be a mapping"),
    (
        "training.churn",
        "yes",
        'is "yes": must be a mapping, because it has the keys command, cpu, dataset, deadline_minutes',
    ),
    ("training.Churn_1", LOCAL["training"]["churn"], 'is "Churn_1": must be a DNS label (RFC 1123)'),
    ("training.a-validation", LOCAL["training"]["churn"], 'is "a-validation": must be a DNS label'),
    (
        "training.churn.validation",
        False,
        "is false: must be a mapping, because it has the keys allow_code, cpu, deadline_minutes, enabled",
    ),
    ("training.churn.validation.enabled", "no", 'is "no": must be true or false'),
    ("tracking.authenticated", "yes", 'is "yes": must be true or false'),
    (
        "tracking.authenticated",
        True,
        "authenticated is true, and mlops:images.envoy is missing: must be false without an image of the proxy",
        "tracking",
    ),
    ("training.churn.validation.schedule", "61 * * * *", "because '61' is not a value of the field minute, 0 to 59"),
    ("training.churn.validation.deadline_minutes", 0, "must be a whole number of minutes from 1 to 1440"),
    ("training.churn.validation.memory", "1G", "must be an amount of memory with a binary unit"),
    (
        "training.churn.validation.cpu",
        999,
        "is cpu 999, memory None: must request at most what mlops:quotas.training allows",
        "training.churn.validation",
    ),
    ("training.churn.validation.any_loss", 0.1, "is unknown"),
    (
        "training.churn.validation.limits",
        [],
        "is []: must be a mapping, because it has the keys any_loss, certain_loss",
    ),
    ("training.churn.validation.limits.any_los", 0.1, "did you mean any_loss?"),
    ("training.churn.validation.limits.any_loss", 2, "is 2: must be a number from 0 to 1, because metrics and"),
    ("training.churn.validation.limits.any_loss", "10%", 'is "10%": must be a number from 0 to 1'),
    (
        "training.churn.validation.limits.least",
        {"auc": 0.5},
        "must be accuracy, f1 or roc_auc, because models of this project have these metrics",
        "training.churn.validation.limits.least.auc",
    ),
    ("training.churn.validation.limits.least", 0.5, "is 0.5: must be a mapping of metrics to their lowest"),
    (
        "training.churn.validation.limits.slice_least",
        {"f1": 7},
        "is 7: must be a number from 0 to 1",
        "training.churn.validation.limits.slice_least.f1",
    ),
    ("training.churn.validation.limits.compared", [], "must be a list of one metric or more"),
    ("training.churn.validation.limits.slice_rows", 0, "must be a whole number of at least 1"),
    ("training.churn.validation.limits.latency_ms", 0, "must be a number of milliseconds above 0"),
    ("training.churn.validation.limits.size_mb", True, "is true: must be a number of megabytes"),
    ("training.churn.validation.limits.skew", "major", "must be none, patch, minor or any"),
    ("training.churn.validation.limits.resamples", 10, "must be a whole number from 100 to 10000"),
    ("training.churn.node_pool", "tpu", "must name a pool of mlops:foundation.node_pools"),
    ("training.churn.node_pool", "tpu", "write one of cpu, gpu, or add the pool there"),
    (
        "training.churn.gpus",
        1,
        "is 1: must be left out on pool cpu, because its nodes have no GPU; choose node_pool: gpu",
    ),
    ("training.churn.gpus", 0, "is 0: must be a whole number from 1 to 16"),
    ("training.churn.deadline_minutes", Absent(), "is missing: must be a whole number of minutes"),
    ("training.churn.deadline_minutes", Absent(), "because a run that hangs occupies a node"),
    ("training.churn.deadline_minutes", 20_000, "from 1 to 10080 (a week)"),
    ("training.churn.retries", -1, "is -1: must be a whole number from 0 to 10"),
    ("training.churn.dataset", "s3://bucket", "must be the URI of one file"),
    ("training.churn.dataset", "https://somewhere/churn.csv", "must be the URI of one file"),
    ("training.churn.memory", "1G", "with a binary unit: Ki, Mi, Gi or Ti"),
    ("training.churn.memory", 1024, "is 1024: must be an amount of memory"),
    ("training.churn.memory", "512m", "with m thousandths of a byte"),
    ("training.churn.cpu", "0", "must be an amount of CPU above 0"),
    ("training.churn.cpu", True, "is true: must be an amount of CPU"),
    ("training.churn.cpu", 65, "is 65: must be at most 64, the value of mlops:quotas.training.cpu"),
    ("training.churn.memory", "1Ti", 'is "1Ti": must be at most 256Gi, the value of mlops:quotas.training.memory'),
    ("training.churn.parameters._depth", 3, 'is "_depth": must be a name of letters, 0-9 and _'),
    ("training.churn.parameters.depths", [1, 2], "is [1, 2]: must be a text, a number, a truth value or {secret"),
    ("training.churn.project", "../x", 'is "../x": must be a name of a-z, 0-9, _ and -'),
    (
        "training.churn.parameters.key",
        {"secret": "a"},
        'is {"secret": "a"}: must be a text, a number, a truth value or {',
    ),
    ("training.churn.parameters.key", {"secret": "A B", "key": "k"}, "as in api_key: {secret: geocoder, key: token}"),
    ("training.churn.image", "training:latest", "must be a full image name"),
    ("training.churn.command", "python -m mine", "must be a list of words"),
    ("training.churn.command", ["python", ""], 'is "": must be a text that is not empty', "training.churn.command.1"),
    ("training.churn.ephemeral_storage", "2G", "must be an amount of disk with a binary unit"),
    ("training.churn.shared_memory", "2G", "must be an amount of memory with a binary unit"),
    ("training.churn.shared_memory", "3Ti", 'is "3Ti": must be at most 1Gi, the value of memory'),
    ("training.churn.queue", "Team A", "must be the name of an object of the cluster"),
    ("training.churn.priority_class", "Very high", "must be the name of an object of the cluster"),
    ("training.churn.service_account", "_", "must be the name of an object of the cluster"),
    ("training.churn.service_account", "drift-churn-predictor", "a run with one could forge validation reports"),
    ("training.churn.service_account", "validation", "a run with one could forge validation reports"),
    (f"training.{'a' * 42}", LOCAL["training"]["churn"], "at most 41 characters"),
    ("training.churn.schedule", "0 3 * *", "because it has 4 fields instead of 5", "training.churn.schedule.cron"),
    (
        "training.churn.schedule.cron",
        "0 24 * * *",
        "because '24' is not a value of the field hour, 0 to 23; write it as in",
    ),
    ("training.churn.schedule", {"suspend": True}, "is missing: must be", "training.churn.schedule.cron"),
    (
        "training.churn.schedule",
        {"cron": "@daily", "time_zone": "Mars/Olympus"},
        'is "Mars/Olympus": must be a time zone of the IANA database',
        "training.churn.schedule.time_zone",
    ),
    (
        "training.churn.schedule",
        {"cron": "@daily", "suspend": 1},
        "is 1: must be true or false",
        "training.churn.schedule.suspend",
    ),
    (
        "training.churn.schedule",
        {"cron": "@daily", "keep_failed": -1},
        "is -1: must be a whole number from 0 to 100",
        "training.churn.schedule.keep_failed",
    ),
    ("training.churn.schedule", 3, "is 3: must be a mapping, because it has the keys cron, keep_failed"),
    (
        "training.churn.sweep",
        {"max_parallel": 1},
        "is null: must be set if grid is not, and left out if grid is set",
        "training.churn.sweep.points",
    ),
    (
        "training.churn.sweep",
        {"max_parallel": 1, "grid": {"max_depth": [1]}, "points": [{"max_depth": 1}]},
        "must be set if grid is not, and left out if grid is set",
        "training.churn.sweep.points",
    ),
    (
        "training.churn.sweep",
        {"grid": {"max_depth": [1, 2]}},
        "is missing: must be a whole number from 1 to 100",
        "training.churn.sweep.max_parallel",
    ),
    (
        "training.churn.sweep",
        {"max_parallel": 2, "grid": {"max_depth": [*range(1, 12)], "n_estimators": [*range(1, 11)]}},
        "is 110 points: must have at most 100 points, because each point is a run, which costs money",
        "training.churn.sweep.grid",
    ),
    (
        "training.churn.sweep",
        {"max_parallel": 2, "points": [{"max_depth": 1}] * 101},
        "is 101 points: must have at most 100 points",
        "training.churn.sweep.points",
    ),
    (
        "training.churn.sweep",
        {"max_parallel": 2, "grid": {"max_depth": 3}},
        "is 3: must be a list of one value or more",
        "training.churn.sweep.grid.max_depth",
    ),
    (
        "training.churn.sweep",
        {"max_parallel": 2, "points": [{"max_depth": [3]}]},
        "is [3]: must be a text, a number or a truth value",
        "training.churn.sweep.points.0.max_depth",
    ),
    (
        "training.churn.sweep",
        {"max_parallel": 2, "grid": {"max_dept": [3]}},
        "must not contain max_dept, because a sweep varies declared parameters",
    ),
    ("training.churn.sweep", {"max_parallel": 2, "grid": {"max_dept": [3]}}, "did you mean max_depth?"),
    ("training.churn.model", "churn predictor", "must be a DNS label (RFC 1123)"),
    ("training.churn.model", "2024-churn", "that begins with a letter"),
    ("endpoints.Churn", {"version": 1}, 'is "Churn": must be a DNS label (RFC 1123)'),
    ("endpoints.1st", {"version": 1}, "that begins with a letter"),
    (f"endpoints.{'a' * 64}", {"version": 1}, "at most 63 characters"),
    ("endpoints.churn-predictor", None, "is null: must be a mapping"),
    ("endpoints.churn-predictor.version", Absent(), "is missing: must be a whole number of at least 1"),
    ("endpoints.churn-predictor.version", 0, "is 0: must be a whole number of at least 1"),
    ("endpoints.churn-predictor.version", "latest", 'is "latest": must be a whole number of at least 1'),
    ("endpoints.churn-predictor.version", "champion", 'is "champion": must be a whole number'),
    ("endpoints.churn-predictor.version", "2", 'is "2": must be a whole number of at least 1, without quotes'),
    ("endpoints.churn-predictor.version", 1.5, "is 1.5: must be a whole number"),
    ("endpoints.churn-predictor.version", True, "is true: must be a whole number"),
    ("endpoints.churn-predictor.verson", 2, "is unknown: must be a key that this program reads"),
    ("endpoints.churn-predictor.verson", 2, "did you mean version?"),
    (
        "endpoints.churn-predictor.replicas.min",
        4,
        "is 3: must be at least 4, the value of min",
        "endpoints.churn-predictor.replicas.max",
    ),
    ("endpoints.churn-predictor.replicas.min", 0, "is 0: must be a whole number from 1 to 1000"),
    ("endpoints.churn-predictor.replicas", 3, "is 3: must be a mapping, because it has the keys max, min"),
    ("endpoints.churn-predictor.startup_seconds", 1, "from 5 to 3600"),
    ("endpoints.churn-predictor.model_mib", "2Gi", 'is "2Gi": must be a whole number of MiB from 1 to 1048576'),
    ("endpoints.churn-predictor.model_mib", 1024, "is 1024: must be below memory, 1Gi, because the model is loaded"),
    ("endpoints.churn-predictor.max_body_mib", "10Mi", 'is "10Mi": must be a whole number of MiB from 1 to 1024'),
    ("endpoints.churn-predictor.max_body_mib", 0, "is 0: must be a whole number of MiB from 1 to 1024"),
    (
        "endpoints.churn-predictor.max_body_mib",
        33,
        "is 33: must be at most a 32nd of memory, 1Gi, because decoded rows",
    ),
    ("endpoints.churn-predictor.max_body_mib", 33, "write a smaller number, or memory: 1056Mi or more"),
    (
        "endpoints.churn-predictor.autoscaling",
        70,
        "is 70: must be a mapping, because it has the keys cpu_percent, in_flight",
    ),
    ("endpoints.churn-predictor.autoscaling.cpu_percent", 0, "is 0: must be a whole number of percent from 10 to 1000"),
    ("endpoints.churn-predictor.autoscaling.cpu_percent", "70%", 'is "70%": must be a whole number of percent'),
    ("endpoints.churn-predictor.autoscaling.memory_percent", 100, "is 100: must be a whole number of percent from 10"),
    ("endpoints.churn-predictor.autoscaling.in_flight", 0.5, "is 0.5: must be a whole number from 1 to 256"),
    (
        "endpoints.churn-predictor.autoscaling.scale_down_stabilization_seconds",
        7200,
        "is 7200: must be a whole number of seconds from 0 to 3600",
    ),
    ("endpoints.churn-predictor.autoscaling.cpu_precent", 70, "did you mean cpu_percent?"),
    ("endpoints.churn-predictor.drain_seconds", 0, "from 1 to 300"),
    ("endpoints.churn-predictor.prediction_log", True, "is true: must be a mapping"),
    ("endpoints.churn-predictor.prediction_log.sample", 0, "is 0: must be a number above 0 and at most 1"),
    ("endpoints.churn-predictor.prediction_log.sample", "10%", "must be a number above 0 and at most 1"),
    ("endpoints.churn-predictor.prediction_log.spool_mib", 1, "from 8 to 65536"),
    (
        "endpoints.churn-predictor.prediction_log.redact",
        ["email", ""],
        'is "": must be the name of a column',
        "endpoints.churn-predictor.prediction_log.redact.1",
    ),
    ("endpoints.churn-predictor.example", "ignore", 'is "ignore": must be require or warn'),
    ("endpoints.churn-predictor.rollback_on_failure", "yes", 'is "yes": must be true or false'),
    ("model_cache", True, "is true: must be a mapping"),
    ("model_cache.gib", 0, "is 0: must be a whole number of GiB from 1 to 16384"),
    ("model_cache.gib", "20Gi", "write it as in gib: 20"),
    ("budget", 1500, "is 1500: must be a mapping, because it has the keys month_usd, run_usd"),
    ("budget.month_usd", 0, "is 0: must be an amount of US dollars above 0"),
    ("budget.month_usd", "$1500", "write it as in 1500 or 19.5, or leave the key out for no limit"),
    ("budget.run", 20, "did you mean run_usd?"),
    (
        "endpoints.churn-predictor.tracing",
        {},
        "is missing: must be the URL",
        "endpoints.churn-predictor.tracing.endpoint",
    ),
    (
        "endpoints.churn-predictor.tracing.endpoint",
        "https://api.example.com:4318",
        "must be the URL of a Service of the",
    ),
    ("endpoints.churn-predictor.tracing.endpoint", "http://collector.observability", "http://service.namespace:port"),
    ("endpoints.churn-predictor.tracing.endpoint", "http://collector.observability:70000", "must be the URL of a"),
    ("endpoints.churn-predictor.tracing.endpoint", "collector.observability:4317", "must be the URL of a Service"),
    (
        "endpoints.churn-predictor.tracing",
        {"endpoint": "http://a.b.svc.cluster.local:4318/otlp", "sample": 1.5},
        "is 1.5: must be a number from 0 to 1",
        "endpoints.churn-predictor.tracing.sample",
    ),
    (
        "quotas.serving",
        {"cpu": 1, "memory": "2Gi", "pods": 9},
        "is cpu 600m, memory 6Gi, pods 6 during a release: must fit mlops:quotas.serving (cpu 1, memory 2Gi, pods 9)",
        "endpoints",
    ),
    (
        "quotas.platform",
        {"cpu": 1, "memory": "5Gi", "pods": 9},
        "is cpu 700m, memory 5632Mi, pods 7 during a release: must fit mlops:quotas.platform",
        "tracking",
    ),
    ("tracking.node_pool", "gpu", 'is "gpu": must name a pool of mlops:foundation.node_pools without GPUs'),
    ("endpoints.churn-predictor.node_pool", "tpu", "no node would ever run the pods; write cpu, or add the pool"),
    ("endpoint", {}, "is unknown: must be a key that this program reads"),
    ("endpoint", {}, "did you mean endpoints?"),
]


@pytest.mark.parametrize("case", WRONG, ids=lambda case: f"{case[0]}={case[1]}"[:60])
def test_a_wrong_value_is_one_line_with_its_path_rule_reason_and_correction(case: tuple[str, ...]) -> None:
    where, value, said, path = (*case, case[0])[:4]
    (line,) = problems(changed({where: value}))
    sentence = line.removeprefix(f"Pulumi.dev.yaml: mlops:{path} is ")
    assert sentence != line, line
    assert said.removeprefix("is ") in sentence
    reason = sentence.partition(", because ")[2]
    assert reason.partition("; ")[2]


def test_what_ships_a_prediction_log_counts_in_the_quota() -> None:
    """Check the quota for six pods of 100m and 1Gi, each with 50m and 384Mi for the prediction log."""
    asked = {"quotas.serving": {"cpu": "600m", "memory": "6Gi", "pods": 6}}
    assert not problems(changed(asked))
    (line,) = problems(changed({**asked, "endpoints.churn-predictor.prediction_log": {}}))
    assert "is cpu 900m, memory 8448Mi, pods 6 during a release" in line


def most_pods(replicas: int, *, seconds_to_start: int, seconds_to_end: int) -> int:
    """Return the most pods that the quota counts in a release with maxSurge 1 and maxUnavailable 0."""
    started, most = [0], replicas + 1
    while len(started) < replicas:
        started.append(started[-1] + seconds_to_start)
    ends = [start + seconds_to_start for start in started]  # an old pod begins to end when a new one is ready
    for now in range(ends[-1] + 1):
        new = sum(start <= now for start in started)
        leaving = sum(end <= now < end + seconds_to_end for end in ends)
        most = max(most, replicas - sum(end <= now for end in ends) + new + leaving)
    return most


@pytest.mark.parametrize("seconds", [1, 5, 30, 120])
@pytest.mark.parametrize("replicas", [1, 3, 20])
def test_a_quota_has_room_for_all_pods_of_a_release_with_those_that_are_leaving(replicas: int, seconds: int) -> None:
    def of(pods: int) -> list[str]:
        quota = {"cpu": 99, "memory": "99Gi", "pods": pods}
        return problems(changed({"quotas.serving": quota, "endpoints.churn-predictor.replicas.max": replicas}))

    assert not of(2 * replicas)
    assert of(2 * replicas - 1)
    assert most_pods(replicas, seconds_to_start=seconds, seconds_to_end=80) <= 2 * replicas
    assert most_pods(replicas, seconds_to_start=1, seconds_to_end=80) == 2 * replicas


def test_every_problem_of_a_file_is_found_at_once() -> None:
    wrong = changed(
        {
            "foundation.images.postgres": "postgres",
            "training.churn.node_pool": "tpu",
            "training.churn.memory": "1G",
            "training.churn.deadline_minutes": Absent(),
            "endpoints.churn-predictor.version": "latest",
            "endpoints.churn-predictor.replicas": {"min": 3, "max": 2},
            "endpoints.Other": {"version": 0},
            "trainig": {},
        }
    )
    assert len(problems(wrong, {})) == 12


def test_a_rule_about_two_sections_holds_beside_other_problems_of_both() -> None:
    lines = problems(changed({"foundation.context": Absent(), "training.churn.cpu": "x", "training.churn.gpus": 1}))
    assert len(lines) == 3


@pytest.mark.parametrize(
    ("key", "value", "written"),
    [
        ("training.churn.cpu", 0.5, "500m"),
        ("training.churn.cpu", "0.5", "500m"),
        ("training.churn.cpu", "1500m", "1500m"),
        ("training.churn.cpu", 2, "2"),
        ("training.churn.memory", "2048Mi", "2Gi"),
    ],
)
def test_amounts_are_taken_in_any_notation_and_kept_in_that_of_the_api_server(
    key: str, value: object, written: str
) -> None:
    read: list[stack.Settings] = []
    record(lambda: read.append(stack.read()), config=changed({key: value}), secrets=SECRETS)
    assert getattr(read[0].training["churn"], key.rpartition(".")[2]) == written


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("foundation.node_pools.cpu.labels.worker", ""),
        ("endpoints.churn-predictor.prediction_log", {"sample": "0.5"}),
        ("endpoints.churn-predictor.tracing", {"endpoint": "http://a.b:4318", "sample": "0"}),
        ("budget", {"month_usd": 1500, "run_usd": "19.5"}),
        ("training.churn.validation.limits", {"least": {"roc_auc": "0.7"}, "latency_ms": "1e2", "size_mb": "0.5"}),
    ],
)
def test_what_kubernetes_takes_and_what_the_engines_commands_write_is_accepted(key: str, value: object) -> None:
    assert problems(changed({key: value})) == []


# path, text in the file, value that Pulumi reads
MISREAD: list[tuple[str, str, object]] = [
    ("endpoints.churn-predictor.version", "08", 8),
    ("endpoints.churn-predictor.version", "010", 8),
    ("endpoints.churn-predictor.version", "1.0", 1),
    ("endpoints.churn-predictor.version", "1_0", 10),
    ("endpoints.churn-predictor.version", "1e1", 10),
    ("endpoints.churn-predictor.version", "0x10", 16),
    ("training.churn.deadline_minutes", "0o30", 24),
    ("endpoints.churn-predictor.replicas.max", "1_0", 10),
]


def in_a_file(config: Mapping[str, object], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write the stack file that the engine has read; numbers in angle brackets are written without quotes."""
    text = yaml.safe_dump({"config": {f"mlops:{key}": value for key, value in config.items()}})
    (folder / "Pulumi.dev.yaml").write_text(text.replace("<", "").replace(">", ""))
    (folder / "Pulumi.yaml").write_text("name: mlops\n")
    (folder / "infra").mkdir()
    monkeypatch.chdir(folder / "infra")


@pytest.mark.parametrize(("path", "written", "value"), MISREAD)
def test_a_number_that_yaml_reads_as_another_is_refused_with_both(
    path: str, written: str, value: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_a_file(changed({path: f"<{written}>"}), tmp_path, monkeypatch)
    (line,) = problems(changed({path: value}))
    assert f"mlops:{path} is written {written}, which YAML reads as {value}: must be written in decimal digits" in line
    assert line.endswith(f"write {value} if you mean that, or the right number; write a text in quotes")


def test_the_numbers_of_another_file_than_the_one_that_was_read_are_let_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_a_file(changed({"endpoints.churn-predictor.version": "<08>"}), tmp_path, monkeypatch)
    assert problems(changed({"endpoints.churn-predictor.version": 3})) == []


def test_numbers_that_read_as_they_are_written_are_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = changed(
        {
            "endpoints.churn-predictor.version": 10,
            "endpoints.churn-predictor.prediction_log": {"sample": 1.0},
            "training.churn.image": "lab.local/mine:1",  # its parameters are unknown
            "training.churn.parameters.rate": 0.05,
            "training.churn.parameters.code": "010",
        }
    )
    in_a_file(config, tmp_path, monkeypatch)
    assert problems(config) == []


def test_a_job_on_a_gpu_pool_gets_one_gpu_without_asking() -> None:
    read: list[stack.Settings] = []
    config = changed({"training.churn.node_pool": "gpu"})
    record(lambda: read.append(stack.read()), config=config, secrets=SECRETS)
    assert read[0].training["churn"].gpus == 1


def test_more_gpus_than_a_pool_gives_are_refused_with_its_number() -> None:
    (line,) = problems(changed({"training.churn.node_pool": "gpu", "training.churn.gpus": 3}))
    assert "training.churn.gpus is 3: must be at most 2, the max of pool gpu" in line


def test_a_sweep_that_its_namespace_would_refuse_in_part_is_refused_before() -> None:
    sweep = {"max_parallel": 40, "grid": {"max_depth": [*range(1, 81)]}}
    (line,) = problems(changed({"training.churn.cpu": 2, "training.churn.sweep": sweep}))
    assert "sweep is 40 pods at the same time with cpu 80, memory 40Gi, pods 40: must fit mlops:quotas.training" in line
    gpus = {"training.churn.node_pool": "gpu", "training.churn.gpus": 2, "training.churn.sweep": sweep}
    assert "memory 40Gi, pods 40, gpus 80: must fit mlops:quotas.training" in problems(changed(gpus))[0]


def test_a_schedule_can_be_written_as_the_times_alone() -> None:
    read: list[stack.Settings] = []
    config = changed({"training.churn.schedule": "0 3 * * 0"})
    record(lambda: read.append(stack.read()), config=config, secrets=SECRETS)
    schedule = read[0].training["churn"].schedule
    assert schedule
    assert (schedule.cron, schedule.time_zone, schedule.suspend) == ("0 3 * * 0", "Etc/UTC", False)


def test_the_guide_to_runs_shows_an_entry_that_is_right() -> None:
    guide = Path(__file__).parents[3] / "docs" / "runs.md"
    written = yaml.safe_load(guide.read_text().partition("```yaml\n")[2].partition("```")[0])
    read: list[stack.Settings] = []
    entry = written["mlops:training"]["churn"]
    record(lambda: read.append(stack.read()), config=changed({"training.churn": entry}), secrets=SECRETS)
    sweep = read[0].training["churn"].sweep
    assert sweep
    assert len(sweep.all_points) == 6


def test_the_guide_to_endpoints_shows_an_entry_that_is_right() -> None:
    guide = Path(__file__).parents[3] / "docs" / "endpoints.md"
    written = yaml.safe_load(guide.read_text().partition("```yaml\n")[2].partition("```")[0])
    read: list[stack.Settings] = []
    config = changed({"endpoints": written["mlops:endpoints"]})
    record(lambda: read.append(stack.read()), config=config, secrets=SECRETS)
    assert read[0].endpoints["churn-predictor"].seconds_to_start == 45 + 45


def test_keys_of_other_programs_in_the_file_are_let_be() -> None:
    assert problems({**LOCAL, "aws:region": "eu-west-1", "mlops-other:endpoints": {}}) == []


class TestSecrets:
    def test_a_missing_one_comes_with_the_command_that_sets_it(self) -> None:
        lines = problems(LOCAL, {key: value for key, value in SECRETS.items() if key != "database_password"})
        assert len(lines) == 1
        assert "mlops:database_password is missing" in lines[0]
        assert lines[0].endswith("run pulumi config set --secret mlops:database_password")

    def test_one_in_plain_text_is_refused_and_not_repeated(self) -> None:
        rest = {key: value for key, value in SECRETS.items() if key != "database_password"}
        (line,) = problems({**LOCAL, "database_password": SECRETS["database_password"]}, rest)
        assert "mlops:database_password is in the file in plain text: must be encrypted" in line
        assert SECRETS["database_password"] not in line

    @pytest.mark.parametrize("weak", ["", "short", "with a space in it.", "with/slash-in-it-0", 'quote"quote"quote'])
    def test_a_weak_one_is_refused_and_not_shown(self, weak: str) -> None:
        (line,) = problems(LOCAL, {**SECRETS, "database_password": weak})
        assert "mlops:database_password (not shown) is wrong: must be 16 to 128 printable ASCII characters" in line
        assert not weak or weak not in line

    def test_one_among_other_values_is_refused_and_not_shown(self) -> None:
        rest = {key: value for key, value in LOCAL.items() if key != "tracking"}
        lines = problems(rest, {**SECRETS, "tracking": '{"replicas": "hunter2"}'})
        assert any("mlops:tracking holds a secret: must not hold a secret" in line for line in lines)
        assert not [line for line in lines if "hunter2" in line]
