"""Messages about a challenger or a shadow that cannot be."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import pytest

from infra.config import stack
from tests.infra.config.test_stack import BATCH, problems
from tests.stacks import Absent, changed

NAME = "endpoints.churn-predictor"
CHALLENGER: Mapping[str, Any] = {"version": 2, "percent": 10, "key": "X-Customer-Id", "experiment": "trees-2026-12"}
VALID: Mapping[str, Any] = {
    "images.envoy": "lab.local/envoy:1",
    f"{NAME}.prediction_log": {},
    f"{NAME}.challenger": CHALLENGER,
    f"{NAME}.shadow": {"version": 3},
}
LONG = "a" * 53
WRONG: list[tuple[Mapping[str, object], str]] = [
    ({f"{NAME}.challenger.version": 1}, "challenger is version 1 twice: must name a version"),
    ({f"{NAME}.shadow.version": 1}, "shadow is version 1 twice: must name a version"),
    ({f"{NAME}.shadow.version": 2}, "shadow is version 2 twice: must name a version"),
    ({f"{NAME}.challenger.percent": 51}, "challenger.percent is 51: must be a whole number of percent from 1 to 50"),
    ({f"{NAME}.challenger.percent": 0}, "challenger.percent is 0: must be a whole number of percent from 1 to 50"),
    ({f"{NAME}.challenger.percent": 2.5}, "challenger.percent is 2.5: must be a whole number"),
    ({f"{NAME}.shadow.percent": 101}, "shadow.percent is 101: must be a whole number of percent from 1 to 100"),
    ({f"{NAME}.challenger.key": "X Customer"}, 'key is "X Customer": must be the name of a request header'),
    ({f"{NAME}.challenger.key": "Connection"}, 'key is "Connection": must be the name of a request header'),
    ({f"{NAME}.challenger.key": "authorization"}, 'key is "authorization": must be the name of a request header'),
    ({f"{NAME}.challenger.key": "x-mlops-unit"}, 'key is "x-mlops-unit": must be the name of a request header'),
    ({f"{NAME}.challenger.experiment": "Trees"}, 'experiment is "Trees": must be a name of at most 63'),
    ({f"{NAME}.challenger.key": Absent()}, "key is missing: must be the name of a request header"),
    (
        {"images.envoy": None},
        "endpoints is used with a challenger in churn-predictor: must be used with mlops:images.envoy",
    ),
    (
        {"endpoints.churn-predictor-router": {"version": 1}},
        "endpoints is used in churn-predictor while there is an endpoint churn-predictor-router: must be used while",
    ),
    (
        {"batch": {"churn-predictor-challenger": BATCH}},
        "batch is used with the name churn-predictor-challenger: must not be the name of an endpoint, or",
    ),
    (
        {f"endpoints.{LONG}": {"version": 1, "shadow": {"version": 2}, "prediction_log": {}}},
        f"endpoints is used in {LONG}, which has 53 characters: must be used in an endpoint whose name has at most 52",
    ),
    (
        {"gate.digest": "required", f"{NAME}.digest": f"sha256:{'0' * 64}"},
        "churn-predictor.challenger.digest is missing",
    ),
    (
        {f"{NAME}.challenger.memory": "256Mi"},
        "challenger is used with memory 256Mi, less than 320Mi: must have the memory",
    ),
    ({f"{NAME}.shadow.replicas": {"min": 2, "max": 1}}, "shadow.replicas.max is 1: must be at least 2"),
    ({"quotas.serving": {"cpu": 4, "memory": "30Gi", "pods": 21}}, "pods 22 during a release: must fit"),
]


def stack_file(more: Mapping[str, object]) -> dict[str, Any]:
    return changed(deepcopy({**VALID, **more}))


def test_a_challenger_and_a_shadow_beside_the_served_version_are_accepted() -> None:
    assert not problems(stack_file({}))


@pytest.mark.parametrize(("more", "said"), WRONG, ids=lambda case: f"{case}"[:60])
def test_what_cannot_be_compared_is_one_line_with_its_path_rule_reason_and_correction(
    more: Mapping[str, object], said: str
) -> None:
    (line,) = problems(stack_file(more))
    assert said in line
    assert "; " in line.partition(", because ")[2]


def test_a_challenger_with_fewer_and_larger_pods_of_its_own_counts_with_these_in_the_quota() -> None:
    own = {f"{NAME}.challenger.{key}": value for key, value in (("replicas", {"min": 1, "max": 1}), ("memory", "2Gi"))}
    quota = {"quotas.serving": {"cpu": 4, "memory": "23Gi", "pods": 18}}
    assert not problems(stack_file({**own, **quota}))
    assert "pods 22 during a release" in problems(stack_file(quota))[0]


def test_nothing_is_compared_without_a_log() -> None:
    lines = problems(stack_file({f"{NAME}.prediction_log": None}))
    assert [line.partition(": must")[0].rpartition(".")[2] for line in lines] == [
        "challenger is used without prediction_log",
        "shadow is used without prediction_log",
    ]


def test_each_version_of_an_endpoint_is_a_release_under_the_name_of_its_deployment() -> None:
    settings = stack.parse(stack_file({f"{NAME}.shadow.digest": f"sha256:{'1' * 64}"}))
    found = {name: (each.model, each.version, each.digest) for name, each in settings.releases.items()}
    assert found == {
        "churn-predictor": ("churn-predictor", 1, ""),
        "churn-predictor-challenger": ("churn-predictor", 2, ""),
        "churn-predictor-shadow": ("churn-predictor", 3, f"sha256:{'1' * 64}"),
    }
