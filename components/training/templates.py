"""Admission policies by which people create only Jobs of declared templates in the namespace of trainings.

Without them, the right to create Jobs is a right to run any image with any service account of the namespace.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as k8s
from pulumi import Input, Output, ResourceOptions

from components.training import same_pod
from components.training.same_pod import Free
from contract import names

NAME = "trainers"
INSTANCE = f"object.metadata.?labels[?{json.dumps(names.INSTANCE)}].orValue('')"
"""CEL expression of the template's name, which is a label of each of its Jobs."""
A_TRAINER = (
    "has(request.userInfo.groups) && "
    f"'{names.TRAINERS}' in request.userInfo.groups && !('{names.ADMINS}' in request.userInfo.groups)"
)
"""CEL expression that the user is in the group of trainers, and not also an administrator."""


@dataclass(frozen=True, kw_only=True)
class Template:
    """CronJob from whose template people create Jobs."""

    job: Input[Mapping[str, Any]]
    """Spec of the Jobs, with keys in snake case."""
    free: Free
    """Values that `mlops train` and `mlops validate` change."""


@dataclass(frozen=True, kw_only=True)
class TrainingTemplatesArgs:
    """Templates of the stack."""

    templates: Mapping[str, Template]
    """Templates by the name of their CronJob."""


class TrainingTemplates(pulumi.ComponentResource):
    """A policy that the group mlops-trainers creates Jobs of a template only, and for each template what it fixes.

    The API server evaluates each policy within a budget of its own, so many templates do not exceed it.
    """

    def __init__(self, name: str, args: TrainingTemplatesArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("mlops:index:TrainingTemplates", name, None, opts)
        child = ResourceOptions(parent=self)
        fixed = [
            _policy(
                f"{NAME}-{template}",
                {"name": "template", "expression": f"{INSTANCE} == {json.dumps(template)}"},
                Output.from_input(each.job).apply(lambda job, free=each.free: same_pod.job_validations(job, free)),
                child,
            )
            for template, each in args.templates.items()
        ]
        known = ", ".join(args.templates) or "none"
        rule: k8s.admissionregistration.v1.ValidationArgsDict = {
            "expression": f"{INSTANCE} in {json.dumps(list(args.templates))}",
            "message": f"trainers create Jobs of the stack's templates ({known}) only; "
            "use mlops train or mlops validate",
        }
        # A template must be fixed before a Job may name it.
        _policy(NAME, None, [rule], ResourceOptions(parent=self, depends_on=fixed))
        self.register_outputs({})


def _policy(
    name: str,
    condition: k8s.admissionregistration.v1.MatchConditionArgsDict | None,
    validations: Input[list[k8s.admissionregistration.v1.ValidationArgsDict]],
    opts: ResourceOptions,
) -> pulumi.Resource:
    """Declare a policy for Jobs that trainers create in the namespace of trainings, and its binding."""
    metadata: k8s.meta.v1.ObjectMetaArgsDict = {"name": f"mlops-{name}", "labels": names.labels(NAME, name, "people")}
    policy = k8s.admissionregistration.v1.ValidatingAdmissionPolicy(
        name,
        metadata=metadata,
        spec={
            "failure_policy": "Fail",
            "match_constraints": {
                "namespace_selector": {"match_labels": {"kubernetes.io/metadata.name": names.TRAINING}},
                "resource_rules": [
                    {"api_groups": ["batch"], "api_versions": ["v1"], "operations": ["CREATE"], "resources": ["jobs"]}
                ],
            },
            "match_conditions": [{"name": "trainer", "expression": A_TRAINER}, *([condition] if condition else [])],
            "validations": validations,
        },
        opts=opts,
    )
    return k8s.admissionregistration.v1.ValidatingAdmissionPolicyBinding(
        name,
        metadata=metadata,
        spec={"policy_name": policy.metadata.name, "validation_actions": ["Deny"]},
        opts=opts,
    )
