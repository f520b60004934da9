"""Rights of people in the cluster, by the Kubernetes groups that an authenticator gives them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as k8s
from pulumi import Input, ResourceOptions

from contract import names

RBAC = "rbac.authorization.k8s.io"
READ = ("get", "list", "watch")
ALL_WHO_READ = (names.VIEWERS, names.TRAINERS, names.ONCALL)
ROLES: Mapping[str, Sequence[k8s.rbac.v1.PolicyRuleArgsDict]] = {
    "mlops-read": [
        {
            "api_groups": [""],
            "resources": [
                *("configmaps", "endpoints", "events", "limitranges", "persistentvolumeclaims", "pods"),
                *("resourcequotas", "serviceaccounts", "services"),
            ],
            "verbs": READ,
        },
        {
            "api_groups": ["apps"],
            "resources": ["controllerrevisions", "daemonsets", "deployments", "replicasets", "statefulsets"],
            "verbs": READ,
        },
        {"api_groups": ["autoscaling"], "resources": ["horizontalpodautoscalers"], "verbs": READ},
        {"api_groups": ["batch"], "resources": ["cronjobs", "jobs"], "verbs": READ},
        {"api_groups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": READ},
        {"api_groups": ["events.k8s.io"], "resources": ["events"], "verbs": READ},
        {"api_groups": ["metrics.k8s.io"], "resources": ["pods"], "verbs": READ},
        {"api_groups": ["monitoring.coreos.com"], "resources": ["podmonitors", "prometheusrules"], "verbs": READ},
        {"api_groups": ["networking.k8s.io"], "resources": ["ingresses", "networkpolicies"], "verbs": READ},
        {"api_groups": ["policy"], "resources": ["poddisruptionbudgets"], "verbs": READ},
        {"api_groups": [RBAC], "resources": ["rolebindings", "roles"], "verbs": READ},
    ],
    "mlops-read-cluster": [
        {
            "api_groups": ["admissionregistration.k8s.io"],
            "resources": ["validatingadmissionpolicies", "validatingadmissionpolicybindings"],
            "verbs": READ,
        },
        {"api_groups": ["apiregistration.k8s.io"], "resources": ["apiservices"], "verbs": READ},
        {"api_groups": [""], "resources": ["namespaces", "nodes", "persistentvolumes"], "verbs": READ},
        {"api_groups": ["eks.amazonaws.com"], "resources": ["nodeclasses"], "verbs": READ},
        {"api_groups": ["karpenter.sh"], "resources": ["nodeclaims", "nodepools"], "verbs": READ},
        {"api_groups": ["metrics.k8s.io"], "resources": ["nodes"], "verbs": READ},
        {"api_groups": ["networking.k8s.io"], "resources": ["ingressclasses"], "verbs": READ},
        {"api_groups": [RBAC], "resources": ["clusterrolebindings", "clusterroles"], "verbs": READ},
        {"api_groups": ["scheduling.k8s.io"], "resources": ["priorityclasses"], "verbs": READ},
        {"api_groups": ["storage.k8s.io"], "resources": ["storageclasses"], "verbs": READ},
    ],
    "mlops-forward": [
        # kubectl begins with GET (WebSocket), for which the API server also requires `create`, and falls back to POST.
        {"api_groups": [""], "resources": ["pods/portforward"], "verbs": ["create", "get"]},
    ],
    "mlops-logs": [{"api_groups": [""], "resources": ["pods/log"], "verbs": ["get"]}],
    "mlops-train": [{"api_groups": ["batch"], "resources": ["jobs"], "verbs": ["create"]}],
    "mlops-operate": [
        {"api_groups": [""], "resources": ["pods"], "verbs": ["delete"]},
        # `kubectl rollout restart` and `undo` patch the Deployment, `kubectl scale` its subresource.
        {"api_groups": ["apps"], "resources": ["deployments", "deployments/scale"], "verbs": ["get", "patch"]},
        # The autoscaler sets the number of pods again, so a lasting number is one of its limits.
        {"api_groups": ["autoscaling"], "resources": ["horizontalpodautoscalers"], "verbs": ["patch"]},
    ],
}
"""Rules of the ClusterRoles. None reads a Secret, enters a container, or changes rights."""


@dataclass(frozen=True, kw_only=True)
class Binding:
    """Groups that have a role."""

    role: str
    """Name of the ClusterRole."""
    groups: Sequence[str]
    """Names of the Kubernetes groups."""
    namespaces: Sequence[str]
    """Namespaces in which the groups have the role; empty for the whole cluster."""


BINDINGS = (
    Binding(role="mlops-read", groups=ALL_WHO_READ, namespaces=(names.PLATFORM, names.TRAINING, names.SERVING)),
    Binding(role="mlops-read-cluster", groups=ALL_WHO_READ, namespaces=()),
    Binding(role="mlops-forward", groups=ALL_WHO_READ, namespaces=(names.PLATFORM,)),
    Binding(role="mlops-logs", groups=(names.TRAINERS, names.ONCALL), namespaces=(names.TRAINING,)),
    Binding(role="mlops-logs", groups=(names.ONCALL,), namespaces=(names.PLATFORM, names.SERVING)),
    Binding(role="mlops-train", groups=(names.TRAINERS,), namespaces=(names.TRAINING,)),
    Binding(role="mlops-operate", groups=(names.ONCALL,), namespaces=(names.SERVING,)),
    Binding(role="cluster-admin", groups=(names.ADMINS,), namespaces=()),
)


@dataclass(frozen=True, kw_only=True)
class PeopleArgs:
    """Namespaces of the platform, each an output that resolves when the namespace exists."""

    platform: Input[str]
    """Namespace of MLflow."""
    training: Input[str]
    """Namespace of training and validation Jobs."""
    serving: Input[str]
    """Namespace of the endpoints."""


class People(pulumi.ComponentResource):
    """ClusterRoles and bindings of four groups: mlops-viewers, mlops-trainers, mlops-oncall, mlops-admins.

    A group grants rights only to its members. On AWS, access entries put IAM roles into the groups. In other clusters,
    a client certificate or the OIDC provider names the groups of a user. An administrator can test the rights of a
    group with `kubectl --as-group`.
    """

    def __init__(self, name: str, args: PeopleArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("mlops:index:People", name, None, opts)
        child = ResourceOptions(parent=self)
        namespaces = {names.PLATFORM: args.platform, names.TRAINING: args.training, names.SERVING: args.serving}
        for role, rules in ROLES.items():
            k8s.rbac.v1.ClusterRole(role, metadata=_metadata(role), rules=rules, opts=child)
        for binding in BINDINGS:
            reference: k8s.rbac.v1.RoleRefArgsDict = {"api_group": RBAC, "kind": "ClusterRole", "name": binding.role}
            subjects: list[k8s.rbac.v1.SubjectArgsDict] = [
                {"api_group": RBAC, "kind": "Group", "name": group} for group in binding.groups
            ]
            for namespace in binding.namespaces:
                k8s.rbac.v1.RoleBinding(
                    f"{namespace}-{binding.role}",
                    metadata={**_metadata(binding.role), "namespace": namespaces[namespace]},
                    role_ref=reference,
                    subjects=subjects,
                    opts=child,
                )
            if not binding.namespaces:
                own = binding.role if binding.role in ROLES else f"mlops-{binding.role}"
                k8s.rbac.v1.ClusterRoleBinding(
                    own, metadata=_metadata(own), role_ref=reference, subjects=subjects, opts=child
                )
        self.register_outputs({})


def _metadata(name: str) -> k8s.meta.v1.ObjectMetaArgsDict:
    """Return metadata with a fixed name, which people find in `kubectl describe`."""
    return {"name": name, "labels": names.labels(name, name, "people")}
