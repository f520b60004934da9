"""Plans for the cost tests: those of the tracked stacks, and small ones with a few resources."""

from collections.abc import Mapping
from datetime import date
from typing import Any

import yaml

from cost.estimate import Estimate
from cost.report import of_document
from infra.config.stack import read
from infra.program import deploy
from tests.infra.foundations.test_aws import Aws
from tests.projects import CHECKOUT
from tests.recording import record

REGION = "us-east-1"
TODAY = date(2026, 11, 30)
HOURS_NAT = 730 * 0.045
"""Price of a NAT gateway, a month."""
Document = dict[str, Any]
Step = dict[str, Any]


def tracked(
    stack: str, *, region: str = REGION, further: Mapping[str, object] | None = None, **changes: object
) -> Document:
    """Output of a preview of a tracked stack with further keys; `changes` replace keys below `mlops:foundation`."""
    config = yaml.safe_load((CHECKOUT / f"Pulumi.{stack}.yaml").read_text())["config"]
    tree = {key.removeprefix("mlops:"): value for key, value in config.items() if key.startswith("mlops:")}
    tree["foundation"] |= changes
    tree |= further or {}
    made = record(
        lambda: deploy(read()),
        config=tree,
        secrets={"database_password": "0123456789-password"},
        stack=stack,
        provider=Aws(),
    )
    return document(*(step(each.type, each.name, each.inputs, each.urn) for each in made.resources), region=region)


def document(*steps: Step, region: str | None = REGION) -> Document:
    """A preview as Pulumi prints it."""
    return {"config": {"aws:region": region} if region else {}, "steps": list(steps)}


def step(type_: str, name: str, inputs: Mapping[str, Any] | None = None, urn: str = "", *, op: str = "create") -> Step:
    """One step of a preview; `same` and `delete` have an old state, `same` and `create` a new one."""
    named = urn or f"urn:pulumi:test::mlops::{type_}::{name}"
    state = {"type": type_, "urn": named, "inputs": dict(inputs or {})}
    sides = {"create": ("newState",), "delete": ("oldState",), "same": ("oldState", "newState")}[op]
    return {"op": op, "urn": named, **dict.fromkeys(sides, state)}


def estimated(*steps: Step, today: date = TODAY) -> Estimate:
    """The estimate of a plan of these steps in us-east-1."""
    return of_document(document(*steps), today=today)


def nat_gateway(name: str = "nat", *, op: str = "create") -> Step:
    return step("aws:ec2/natGateway:NatGateway", name, op=op)


def database(instance_class: str = "db.m7g.large", storage: object = 100) -> Step:
    inputs = {"instanceClass": instance_class, "allocatedStorage": storage, "multiAz": False}
    return step("aws:rds/instance:Instance", "database", inputs)


def node_pool(
    name: str, families: list[str], capacity: list[str], limits: Mapping[str, str], *, disk: str = "100Gi"
) -> list[Step]:
    """A pool of Auto Mode with its class; one that is limited in GPUs has a taint."""
    requirements = [
        {"key": "eks.amazonaws.com/instance-family", "operator": "In", "values": families},
        {"key": "karpenter.sh/capacity-type", "operator": "In", "values": capacity},
    ]
    taints = [{"key": "nvidia.com/gpu", "effect": "NoSchedule"}] if "nvidia.com/gpu" in limits else []
    template = {"nodeClassRef": {"name": name}, "requirements": requirements, "taints": taints}
    spec = {
        "template": {"metadata": {"labels": {"mlops/node-pool": name}}, "spec": template},
        "limits": dict(limits),
    }
    return [
        step("kubernetes:karpenter.sh/v1:NodePool", name, {"spec": spec}),
        step("kubernetes:eks.amazonaws.com/v1:NodeClass", name, {"spec": {"ephemeralStorage": {"size": disk}}}),
    ]


def pod_spec(cpu: str, memory: str, *, gpus: int = 0, pool: str | None = None, spread: bool = False) -> dict[str, Any]:
    requests = {"cpu": cpu, "memory": memory, **({"nvidia.com/gpu": str(gpus)} if gpus else {})}
    return {
        "containers": [{"name": "main", "resources": {"requests": requests}}],
        **({"nodeSelector": {"mlops/node-pool": pool}} if pool else {}),
        **({"topologySpreadConstraints": [{"topologyKey": "kubernetes.io/hostname"}]} if spread else {}),
    }


def endpoint(name: str, pod: Mapping[str, Any], least: int, most: int) -> list[Step]:
    """A model endpoint: its Deployment and its autoscaler."""
    labels = {"app.kubernetes.io/name": "model-endpoint", "app.kubernetes.io/component": "serving"}
    scaled = {"minReplicas": least, "maxReplicas": most}
    return [
        step(
            "kubernetes:apps/v1:Deployment",
            name,
            {"metadata": {"labels": labels}, "spec": {"template": {"spec": dict(pod)}}},
        ),
        step("kubernetes:autoscaling/v2:HorizontalPodAutoscaler", name, {"spec": scaled}),
    ]


def training(name: str, pod: Mapping[str, Any], *, minutes: int, parallel: int = 1, kind: str = "training") -> Step:
    """The CronJob of a training job, or of another kind of work."""
    job = {"activeDeadlineSeconds": minutes * 60, "parallelism": parallel, "template": {"spec": dict(pod)}}
    labels = {"app.kubernetes.io/component": kind}
    spec = {"jobTemplate": {"spec": job}}
    return step("kubernetes:batch/v1:CronJob", name, {"metadata": {"labels": labels}, "spec": spec})
