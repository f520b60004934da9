"""Names and places of Kubernetes objects."""

import hashlib
from dataclasses import dataclass
from typing import Final

from lab.providers.values import UNKNOWN, Tree, entries, section

AUTONAMED: Final = "pulumi.com/autonamed"
SKIP_AWAIT: Final = "pulumi.com/skipAwait"
TIMEOUT_SECONDS: Final = "pulumi.com/timeoutSeconds"
PATCH_FORCE: Final = "pulumi.com/patchForce"
DELETE_PROPAGATION: Final = "pulumi.com/deletionPropagationPolicy"

LONGEST_LABEL: Final = 63  # Pods copy the name of their Job, StatefulSet, ... into a label
CLUSTER_SCOPED: Final = frozenset({
    "APIService", "CSIDriver", "CSINode", "CertificateSigningRequest", "ClusterRole", "ClusterRoleBinding",
    "ClusterTrustBundle", "ComponentStatus", "CustomResourceDefinition", "DeviceClass", "FlowSchema", "IPAddress",
    "IngressClass", "MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding", "MutatingWebhookConfiguration",
    "Namespace", "Node", "PersistentVolume", "PriorityClass", "PriorityLevelConfiguration", "ResourceSlice",
    "RuntimeClass", "ServiceCIDR", "StorageClass", "StorageVersion", "StorageVersionMigration",
    "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "ValidatingWebhookConfiguration",
    "VolumeAttachment", "VolumeAttributesClass",
})  # fmt: skip
BUILT_IN_GROUPS: Final = frozenset({"", "apps", "autoscaling", "batch", "extensions", "policy"})


@dataclass(frozen=True)
class Token:
    """What a resource type such as `kubernetes:core/v1:ConfigMap` names; `patch` for the `...Patch` resources."""

    api_version: str
    kind: str
    patch: bool = False

    @property
    def built_in(self) -> bool:
        """False for custom resources, of which only the cluster knows whether they live in a namespace."""
        group = self.api_version.rpartition("/")[0]
        return group in BUILT_IN_GROUPS or group.endswith(".k8s.io")


def parse_type(resource_type: str) -> Token:
    """Of the type in a URN, less its parents."""
    _, api_version, kind = resource_type.rpartition("$")[2].split(":")
    patch = kind.endswith("Patch") and kind != "Patch"
    return Token(api_version.removeprefix("core/"), kind.removesuffix("Patch") if patch else kind, patch)


def name_of(tree: Tree) -> str:
    """Its metadata.name; empty where it has none, or none that is known."""
    name = section(tree, "metadata").get("name")
    return name if isinstance(name, str) else ""


def namespace_of(tree: Tree) -> str | None:
    """Its metadata.namespace; None where it has none, or none that is known."""
    namespace = section(tree, "metadata").get("namespace")
    return namespace if isinstance(namespace, str) and namespace else None


def annotation(tree: Tree, name: str) -> str | None:
    """One of its annotations."""
    value = section(tree, "metadata", "annotations").get(name)
    return None if value is None or value is UNKNOWN else str(value)


def is_autonamed(tree: Tree) -> bool:
    """Whether its name was made here."""
    return annotation(tree, AUTONAMED) == "true"


def autoname(resource_name: str, seed: bytes) -> str:
    """`<resource_name>-<8 hex digits of the seed>`, shortened to fit a label."""
    digits = hashlib.sha256(seed).hexdigest()[:8]
    return f"{resource_name[: LONGEST_LABEL - 9].rstrip('-.')}-{digits}"


def identity(tree: Tree) -> str:
    """`namespace/name`, or `name` outside of namespaces: the resource's id."""
    namespace = namespace_of(tree)
    return f"{namespace}/{name_of(tree)}" if namespace else name_of(tree)


def parse_identity(text: str) -> tuple[str | None, str]:
    """(namespace, name) of an id."""
    namespace, _, name = text.rpartition("/")
    return namespace or None, name


def title(tree: Tree) -> str:
    """`Deployment ml-serving/churn-predictor`, for messages."""
    return f"{tree.get('kind')} {identity(tree)}"


def propagation_of(tree: Tree) -> str:
    """How a deletion goes on to what the object owns: before it (`Foreground`) where that is Pods, else after it.

    The garbage collector learns of a new custom kind only after half a minute, and in the foreground it is waited for.
    """
    return "Foreground" if str(tree.get("apiVersion")).startswith(("apps/", "batch/")) else "Background"


def field_manager(urn: str) -> str:
    """The owner of the fields that a resource sets. Made from its URN, so that an interrupted create is known again."""
    return f"pulumi-kubernetes-{hashlib.sha256(urn.encode()).hexdigest()[:8]}"


def is_managed_by(live: Tree, manager: str) -> bool:
    """Whether `manager` has applied fields of the live object."""
    return any(
        entry.get("manager") == manager and entry.get("operation") == "Apply"
        for entry in entries(live, "metadata", "managedFields")
    )
