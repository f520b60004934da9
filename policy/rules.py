"""Rules for the resources of the platform, as functions of a resource's type and inputs.

The policy pack (`__main__.py`) and the tests call them with the same inputs.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

Properties = Mapping[str, Any]
Check = Callable[[str, Properties], Iterator[str]]
WORLD = frozenset({"0.0.0.0/0", "::/0"})


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Rule for resources of certain types."""

    name: str
    """Name of the policy, such as `no-wildcard-action`."""
    description: str
    """Explanation of the rule for users."""
    types: frozenset[str]
    """Types of the resources that the rule checks."""
    check: Check
    """Function that yields a message for each violation."""
    advisory: bool
    """Whether a violation is only reported; otherwise it stops the update."""


RULES: list[Rule] = []
"""All rules about a single resource, in the order of this file."""


def rule(
    *types: str,
    advisory: bool = False,
) -> Callable[[Callable[[str, Properties], Iterator[str]]], Callable[[str, Properties], Iterator[str]]]:
    """Return a decorator that registers a check of these resource types; its docstring describes it to users."""

    def register(check: Check) -> Check:
        name, description = check.__name__.replace("_", "-"), check.__doc__ or ""
        RULES.append(Rule(name=name, description=description, types=frozenset(types), check=check, advisory=advisory))
        return check

    return register


# Name of the input that contains an IAM document, by resource type. TRUST says who may assume a role, IDENTITY what the
# owner of the policy may do, and HELD who may use a key, a bucket or a repository.
TRUST = {"aws:iam/role:Role": "assumeRolePolicy"}
IDENTITY = {
    "aws:iam/policy:Policy": "policy",
    "aws:iam/rolePolicy:RolePolicy": "policy",
    "aws:iam/groupPolicy:GroupPolicy": "policy",
    "aws:iam/userPolicy:UserPolicy": "policy",
}
KEYS = {"aws:kms/key:Key": "policy", "aws:kms/keyPolicy:KeyPolicy": "policy"}
HELD = {
    "aws:ecr/repositoryPolicy:RepositoryPolicy": "policy",
    "aws:s3/bucketPolicy:BucketPolicy": "policy",
    "aws:sns/topicPolicy:TopicPolicy": "policy",
    **KEYS,
}
DOCUMENTS = {**TRUST, **IDENTITY, **HELD}


BOUNDARIES = "/boundary/"
"""IAM path of policies that serve only as permissions boundaries; they limit roles and give no right."""


def _is_boundary(kind: str, properties: Properties) -> bool:
    return kind == "aws:iam/policy:Policy" and properties.get("path") == BOUNDARIES


@rule(*DOCUMENTS)
def no_wildcard_action(kind: str, properties: Properties) -> Iterator[str]:
    """No statement allows an action that contains `*`, except in a boundary: it would allow actions of the future."""
    if _is_boundary(kind, properties):
        return
    for statement in _allowing(properties.get(DOCUMENTS[kind])):
        for action in _list(statement.get("Action")):
            if "*" in action:
                yield f"allows {action}"
        if "NotAction" in statement:
            yield "allows everything but NotAction"


@rule(*(kind for kind in DOCUMENTS if kind not in KEYS))
def no_wildcard_resource(kind: str, properties: Properties) -> Iterator[str]:
    """No statement allows actions on every resource of a kind, except in a boundary, or in one region in a managed
    policy (a role that deploys cannot know the ids of new resources); in a key policy, `*` means the key itself.
    """
    if _is_boundary(kind, properties):
        return
    for statement in _allowing(properties.get(DOCUMENTS[kind])):
        equal = _map(_map(statement.get("Condition")).get("StringEquals"))
        if kind == "aws:iam/policy:Policy" and equal.get("aws:RequestedRegion"):
            continue
        for resource in _list(statement.get("Resource")):
            if re.fullmatch(r"(arn:[^:]*:[^:]*:[^:]*:(:|[^:]+:([\w-]+[:/])?))?[*/:]+", resource):
                yield f"allows {_list(statement.get('Action'))} on {resource}"
        if "NotResource" in statement:
            yield "allows actions on everything but NotResource"


BOUND = frozenset({"aws:SourceAccount", "aws:SourceArn", "aws:RequestTag/eks-cluster-arn"})
"""Condition keys that restrict a service's requests to this account or cluster."""


GITHUB = "token.actions.githubusercontent.com"


def _are_named_jobs(statement: Properties) -> bool:
    """Return whether a trust statement admits only jobs of named environments of named repositories on GitHub."""
    principal, condition = _map(statement.get("Principal")), _map(statement.get("Condition"))
    equal = _map(condition.get("StringEquals"))
    subjects = _list(equal.get(f"{GITHUB}:sub"))
    return (
        set(principal) == {"Federated"}
        and str(principal["Federated"]).endswith(f":oidc-provider/{GITHUB}")
        and equal.get(f"{GITHUB}:aud") == "sts.amazonaws.com"
        and bool(subjects)
        and all(re.fullmatch(r"repo:[^:*?]+/[^:*?]+:environment:[^:*?]+", str(subject)) for subject in subjects)
    )


@rule(*TRUST)
def roles_are_for_our_services(kind: str, properties: Properties) -> Iterator[str]:
    """Only AWS services, on behalf of this account (EC2 and AWS Backup never act for another), and named jobs on GitHub
    can assume a role.
    """
    for statement in _allowing(properties.get(TRUST[kind])):
        principal = _map(statement.get("Principal"))
        if _are_named_jobs(statement):
            continue
        if set(principal) != {"Service"}:
            yield f"can be assumed by {statement.get('Principal')}"
            continue
        conditions = {key for test in _map(statement.get("Condition")).values() for key in _map(test)}
        for service in _list(principal.get("Service")):
            if service not in {"backup.amazonaws.com", "ec2.amazonaws.com"} and not conditions & BOUND:
                yield f"can be assumed by {service} on behalf of any account"


@rule(*HELD)
def policies_of_resources_name_who(kind: str, properties: Properties) -> Iterator[str]:
    """No policy of a bucket, key or repository gives access to everyone."""
    for statement in _allowing(properties.get(HELD[kind])):
        principal = statement.get("Principal")
        if principal == "*" or any("*" in _list(who) for who in _map(principal).values()):
            yield f"allows everyone {_list(statement.get('Action'))}"


@rule("aws:kms/key:Key")
def keys_have_a_policy(_kind: str, properties: Properties) -> Iterator[str]:
    """Every key has its own policy, because AWS's default policy grants the whole account `kms:*`."""
    if not properties.get("policy"):
        yield "has AWS's default policy, which grants the account kms:*"


@rule("aws:iam/role:Role")
def roles_get_their_rights_from_resources(_kind: str, properties: Properties) -> Iterator[str]:
    """A role's permissions are RolePolicy and RolePolicyAttachment resources, which other rules check."""
    for hidden in ("inlinePolicies", "managedPolicyArns"):
        if properties.get(hidden):
            yield f"has {hidden}"


@rule("aws:iam/accessKey:AccessKey", "aws:iam/user:User")
def no_static_credentials(kind: str, properties: Properties) -> Iterator[str]:
    """Programs use roles, because a key that never expires will leak."""
    yield f"{kind} {properties.get('name', '')} is a credential that never expires"


@rule("aws:iam/rolePolicyAttachment:RolePolicyAttachment")
def no_broad_managed_policy(_kind: str, properties: Properties) -> Iterator[str]:
    """No role has an AWS managed policy for a whole service or for S3, nor a boundary as its policy."""
    if f":policy{BOUNDARIES}" in str(properties.get("policyArn", "")):
        yield "attaches a permissions boundary, which would give all rights that it should limit"
    name = str(properties.get("policyArn", "")).rpartition("/")[2]
    if re.search(r"(FullAccess|AdministratorAccess|PowerUserAccess)$|^AmazonS3", name):
        yield f"attaches {name}"


@rule("aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule", "aws:ec2/securityGroupRule:SecurityGroupRule")
def no_ingress_rule_for_the_world(_kind: str, properties: Properties) -> Iterator[str]:
    """No rule of a security group admits the whole internet."""
    if properties.get("type") != "egress":
        blocks = (*_list(properties.get("cidrBlocks")), *_list(properties.get("ipv6CidrBlocks")))
        yield from _world([properties.get("cidrIpv4"), properties.get("cidrIpv6"), *blocks])


@rule("aws:ec2/securityGroup:SecurityGroup", "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup")
def no_group_for_the_world(kind: str, properties: Properties) -> Iterator[str]:
    """No security group admits the whole internet, and a VPC's default group blocks all traffic."""
    if kind.endswith(":DefaultSecurityGroup") and (properties.get("ingress") or properties.get("egress")):
        yield "the default security group allows traffic"
    for entry in _maps(properties.get("ingress")):
        yield from _world([*_list(entry.get("cidrBlocks")), *_list(entry.get("ipv6CidrBlocks"))])


def _own_key(value: object) -> bool:
    """Return whether the value names a key of this account rather than one of AWS's."""
    return isinstance(value, str) and bool(value) and "alias/aws/" not in value


@rule("aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration")
def buckets_use_our_key(_kind: str, properties: Properties) -> Iterator[str]:
    """Objects are encrypted with a key of the account, by a bucket key (one KMS request for many objects). AWS's log
    services write only to buckets with S3's own key, so the bucket of access logs has that.
    """
    if str(properties.get("bucket", "")).endswith("-access-logs"):
        return
    for entry in _maps(properties.get("rules")) or [{}]:
        default = _map(entry.get("applyServerSideEncryptionByDefault"))
        if default.get("sseAlgorithm") != "aws:kms" or not _own_key(default.get("kmsMasterKeyId")):
            yield "objects are not encrypted with a key of the account"
        if not entry.get("bucketKeyEnabled"):
            yield "has no bucket key: every object costs a KMS request"


@rule("aws:backup/vault:Vault", "aws:sns/topic:Topic")
def backups_and_notifications_use_our_key(_kind: str, properties: Properties) -> Iterator[str]:
    """Backup vaults and topics are encrypted with a key of the account."""
    if not _own_key(properties.get("kmsKeyArn") or properties.get("kmsMasterKeyId")):
        yield "is not encrypted with a key of the account"


@rule("aws:rds/instance:Instance")
def databases_are_private_and_encrypted(_kind: str, properties: Properties) -> Iterator[str]:
    """A database is private; disk and performance data have a key of the account (a restored disk its snapshot's)."""
    if properties.get("publiclyAccessible") is not False:
        yield "can get a public address"
    keyed = _own_key(properties.get("kmsKeyId")) or properties.get("snapshotIdentifier")
    if properties.get("storageEncrypted") is not True or not keyed:
        yield "storage is not encrypted with a key of the account"
    if properties.get("performanceInsightsEnabled") and not _own_key(properties.get("performanceInsightsKmsKeyId")):
        yield "performance data is not encrypted with a key of the account"


@rule("aws:rds/instance:Instance")
def protected_databases_can_be_restored(_kind: str, properties: Properties) -> Iterator[str]:
    """A database with deletion protection has backups and a final snapshot."""
    if properties.get("deletionProtection"):
        if not properties.get("backupRetentionPeriod"):
            yield "has no backups"
        if properties.get("skipFinalSnapshot") is not False:
            yield "takes no final snapshot"


@rule("aws:rds/parameterGroup:ParameterGroup")
def databases_want_tls(_kind: str, properties: Properties) -> Iterator[str]:
    """Postgres refuses a connection without TLS."""
    set_to = {entry.get("name"): str(entry.get("value")) for entry in _maps(properties.get("parameters"))}
    if set_to.get("rds.force_ssl") != "1":
        yield "rds.force_ssl is not 1"


@rule("aws:s3/bucketPolicy:BucketPolicy")
def buckets_want_tls(_kind: str, properties: Properties) -> Iterator[str]:
    """A bucket refuses requests without TLS."""
    denied = [statement for statement in _statements(properties.get("policy")) if statement.get("Effect") == "Deny"]
    if not any(_map(_map(s.get("Condition")).get("Bool")).get("aws:SecureTransport") == "false" for s in denied):
        yield "plain HTTP is not denied"


@rule("aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock")
def buckets_stay_private(_kind: str, properties: Properties) -> Iterator[str]:
    """All four blocks against public access are on."""
    for block in ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets"):
        if properties.get(block) is not True:
            yield f"{block} is off"


@rule("aws:kms/key:Key")
def keys_rotate(_kind: str, properties: Properties) -> Iterator[str]:
    """A key is rotated every year, and a deleted key can be restored for a week or more."""
    if properties.get("enableKeyRotation") is not True:
        yield "is never rotated"
    if properties.get("deletionWindowInDays", 30) < 7:
        yield "cannot be restored for a week after its deletion"


@rule("aws:eks/cluster:Cluster")
def clusters_are_closed(_kind: str, properties: Properties) -> Iterator[str]:
    """A cluster's API is private or open to named networks, and only access entries give access."""
    place = _map(properties.get("vpcConfig"))
    networks = set(_list(place.get("publicAccessCidrs")))
    if place.get("endpointPublicAccess") is not False and (not networks or networks & WORLD):
        yield "the API is open to the world"
    if place.get("endpointPrivateAccess") is not True:
        yield "nodes would reach the API over the internet"
    if _map(properties.get("accessConfig")).get("authenticationMode") != "API":
        yield "the ConfigMap aws-auth gives access"


@rule("aws:eks/cluster:Cluster")
def clusters_are_encrypted_and_logged(_kind: str, properties: Properties) -> Iterator[str]:
    """Secrets are encrypted with a key of the account, and all five logs of the control plane are kept."""
    encryption = _map(properties.get("encryptionConfig"))
    key = _map(encryption.get("provider")).get("keyArn")
    if "secrets" not in _list(encryption.get("resources")) or not _own_key(key):
        yield "Secrets are not encrypted with a key of the account"
    wanted = {"api", "audit", "authenticator", "controllerManager", "scheduler"}
    if missing := wanted - set(_list(properties.get("enabledClusterLogTypes"))):
        yield f"does not log {', '.join(sorted(missing))}"


@rule("aws:cloudwatch/logGroup:LogGroup")
def logs_end_and_are_encrypted(_kind: str, properties: Properties) -> Iterator[str]:
    """Logs are encrypted with a key of the account and deleted after some time."""
    if not _own_key(properties.get("kmsKeyId")):
        yield "is not encrypted with a key of the account"
    if not properties.get("retentionInDays"):
        yield "is never deleted and costs money forever"


@rule("aws:ecr/repository:Repository")
def images_are_immutable_and_scanned(_kind: str, properties: Properties) -> Iterator[str]:
    """A pushed tag never changes, every push is scanned, and layers are encrypted with a key of the account."""
    if properties.get("imageTagMutability") != "IMMUTABLE":
        yield "a tag can be moved to another image"
    if _map(properties.get("imageScanningConfiguration")).get("scanOnPush") is not True:
        yield "pushes are not scanned"
    for entry in _maps(properties.get("encryptionConfigurations")) or [{}]:
        if entry.get("encryptionType") != "KMS" or not _own_key(entry.get("kmsKey")):
            yield "layers are not encrypted with a key of the account"


@rule("aws:ec2/launchTemplate:LaunchTemplate")
def machines_keep_their_role_to_themselves(_kind: str, properties: Properties) -> Iterator[str]:
    """Instances require IMDSv2 with one hop, and their disks are encrypted with a key of the account."""
    metadata = _map(properties.get("metadataOptions"))
    if metadata.get("httpTokens") != "required" or metadata.get("httpPutResponseHopLimit") != 1:
        yield "a pod can assume the role of its node"
    for mapping in _maps(properties.get("blockDeviceMappings")):
        disk = _map(mapping.get("ebs"))
        if str(disk.get("encrypted")).lower() != "true" or not _own_key(disk.get("kmsKeyId")):
            yield f"disk {mapping.get('deviceName')} is not encrypted with a key of the account"


@rule("kubernetes:eks.amazonaws.com/v1:NodeClass")
def node_disks_use_our_key(_kind: str, properties: Properties) -> Iterator[str]:
    """Disks of Auto Mode's nodes are encrypted with a key of the account."""
    if not _own_key(_map(_map(properties.get("spec")).get("ephemeralStorage")).get("kmsKeyID")):
        yield "disks are not encrypted with a key of the account"


@rule("kubernetes:networking.k8s.io/v1:Ingress")
def load_balancers_name_networks_and_use_tls_in_public(_kind: str, properties: Properties) -> Iterator[str]:
    """A load balancer accepts only named networks; a public one uses HTTPS."""
    annotations = _map(_map(properties.get("metadata")).get("annotations"))
    settings = {key.removeprefix("alb.ingress.kubernetes.io/"): str(value) for key, value in annotations.items()}
    if settings.get("scheme") == "internet-facing" and not settings.get("certificate-arn"):
        yield "is public without HTTPS"
    networks = {network for network in settings.get("inbound-cidrs", "").split(",") if network}
    if not networks or networks & WORLD:
        yield "is open to the world"


WORKLOADS = tuple(
    f"kubernetes:{group}:{kind}"
    for group, kinds in {"apps/v1": ("Deployment", "StatefulSet", "DaemonSet"), "batch/v1": ("Job", "CronJob")}.items()
    for kind in kinds
)


ROLES = ("kubernetes:rbac.authorization.k8s.io/v1:ClusterRole", "kubernetes:rbac.authorization.k8s.io/v1:Role")
RAISES = frozenset({"*", "bind", "escalate", "impersonate"})
ENTERS = frozenset({"*", "pods/attach", "pods/ephemeralcontainers", "pods/exec", "secrets", "serviceaccounts/token"})


@rule(*ROLES)
def roles_of_the_cluster_give_no_further_rights(_kind: str, properties: Properties) -> Iterator[str]:
    """No role of the cluster reads Secrets, enters containers, changes rights, or has a wildcard."""
    for entry in _maps(properties.get("rules")):
        verbs, resources = set(_list(entry.get("verbs"))), set(_list(entry.get("resources")))
        if RAISES & verbs or ENTERS & resources:
            yield f"allows {', '.join(sorted(verbs))} of {', '.join(sorted(resources))}"


@rule(*WORKLOADS)
def images_are_pinned(_kind: str, properties: Properties) -> Iterator[str]:
    """Every image has a digest or a tag other than latest, so that it changes only with the stack file."""
    for container in _containers(properties):
        image = str(container.get("image", ""))
        if not re.search(r"(@sha256:[0-9a-f]{64}|:(?!latest$)[\w.-]+)$", image.rpartition("/")[2]):
            yield f"{container.get('name')} runs {image}"


FIXED_TAGS = re.compile(r"lab\.local/|\d{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com/")
"""Registries whose tags do not move: a stack's ECR repositories are immutable, and the lab's tags are hashes."""


@rule(*WORKLOADS, advisory=True)
def images_have_digests(_kind: str, properties: Properties) -> Iterator[str]:
    """Every image has a digest, except in registries whose tags do not move."""
    for container in _containers(properties):
        image = str(container.get("image", ""))
        if not (FIXED_TAGS.match(image) or re.search(r"@sha256:[0-9a-f]{64}$", image)):
            yield f"{container.get('name')} runs {container.get('image')}, which has no digest"


CHOWN = frozenset({"CHOWN"})
MODEL_CACHE = ("kube-system", "model-cache")
"""Namespace and name of the DaemonSet that makes the models' folder on each node, as root with CHOWN (ADR 0015)."""


def _is_model_cache(kind: str, properties: Properties) -> bool:
    metadata = _map(properties.get("metadata"))
    return kind.endswith(":DaemonSet") and (metadata.get("namespace"), metadata.get("name")) == MODEL_CACHE


@rule(*WORKLOADS)
def containers_are_hardened(kind: str, properties: Properties) -> Iterator[str]:
    """A container runs as a user, cannot gain rights, has no capability, a read-only root and the default seccomp
    profile (the model cache's may be root, with CHOWN).
    """
    cache = _is_model_cache(kind, properties)
    pod = _map(_pod(properties).get("securityContext"))
    for container in _containers(properties):
        own, name = _map(container.get("securityContext")), container.get("name")
        held = {**pod, **own}
        capabilities = _map(own.get("capabilities"))
        if held.get("runAsNonRoot") is not True and not cache:
            yield f"{name} may run as root"
        if own.get("allowPrivilegeEscalation") is not False or own.get("privileged"):
            yield f"{name} can gain rights"
        if _list(capabilities.get("drop")) != ["ALL"] or set(_list(capabilities.get("add"))) - (
            CHOWN if cache else set()
        ):
            yield f"{name} has capabilities"
        if own.get("readOnlyRootFilesystem") is not True:
            yield f"{name} can write to its image"
        if _map(held.get("seccompProfile")).get("type") != "RuntimeDefault":
            yield f"{name} has no seccomp profile"


@rule(*WORKLOADS)
def pods_stay_off_their_node(kind: str, properties: Properties) -> Iterator[str]:
    """No pod shares a namespace of its node or mounts a folder of it (but the model cache), or gets an API token."""
    pod = _pod(properties)
    yield from (f"has {shared}" for shared in ("hostIPC", "hostNetwork", "hostPID") if pod.get(shared))
    for volume in _maps(pod.get("volumes")):
        if "hostPath" in volume and not _is_model_cache(kind, properties):
            yield f"mounts the node's folder {_map(volume['hostPath']).get('path')}"
    if pod.get("automountServiceAccountToken") is not False:
        yield "gets a token of the Kubernetes API"


@rule("kubernetes:core/v1:PersistentVolume")
def volumes_stay_off_nodes(_kind: str, properties: Properties) -> Iterator[str]:
    """No volume is a folder of a node, except the model cache's, whose files are verified (ADR 0015)."""
    spec = _map(properties.get("spec"))
    if "hostPath" in spec and _map(spec.get("claimRef")).get("name") != MODEL_CACHE[1]:
        yield f"is the node's folder {_map(spec['hostPath']).get('path')}"


@rule("kubernetes:core/v1:Namespace")
def namespaces_restrict_pods(_kind: str, properties: Properties) -> Iterator[str]:
    """A namespace refuses pods that break the restricted Pod Security Standard."""
    labels = _map(_map(properties.get("metadata")).get("labels"))
    if labels.get("pod-security.kubernetes.io/enforce") != "restricted":
        yield "does not enforce the restricted Pod Security Standard"


@rule(*WORKLOADS)
def databases_are_reached_by_tls(_kind: str, properties: Properties) -> Iterator[str]:
    """A URI of Postgres asks for TLS with a verified certificate."""
    for container in _containers(properties):
        for variable in _maps(container.get("env")):
            uri = str(variable.get("value", ""))
            if re.match(r"postgres(ql)?(\+\w+)?://", uri) and not re.search(r"[?&]sslmode=verify-full(&|$)", uri):
                yield f"{container.get('name')} has {variable.get('name')} without sslmode=verify-full"


@rule(*WORKLOADS)
def containers_hold_no_secret(_kind: str, properties: Properties) -> Iterator[str]:
    """No container has a password or an access key in plain text in its environment."""
    for container in _containers(properties):
        for variable in _maps(container.get("env")):
            if variable.get("value") and re.search(r"SECRET|PASSWORD|ACCESS_KEY", str(variable.get("name"))):
                yield f"{container.get('name')} has {variable['name']} in plain text"


@dataclass(frozen=True, kw_only=True)
class Resource:
    """Resource of a stack."""

    kind: str
    """Type, such as `aws:s3/bucket:Bucket`."""
    name: str
    """Name of the resource in the program."""
    properties: Properties
    """Inputs of the resource."""


BUCKET_PARTS = (
    "aws:s3/bucketOwnershipControls:BucketOwnershipControls",
    "aws:s3/bucketPolicy:BucketPolicy",
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock",
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
    "aws:s3/bucketVersioning:BucketVersioning",
)


def buckets_are_complete(resources: Sequence[Resource]) -> Iterator[tuple[Resource, str]]:
    """Every bucket has the resources for encryption, versioning, ownership, policy and the block of public access.

    A rule about a single resource cannot see that another resource is missing.
    """
    buckets = [resource for resource in resources if resource.kind == "aws:s3/bucket:Bucket"]
    for part in BUCKET_PARTS:
        if sum(resource.kind == part for resource in resources) < len(buckets):
            yield from ((bucket, f"a bucket lacks its {part.rpartition(':')[2]}") for bucket in buckets)


def namespaces_are_closed(resources: Sequence[Resource]) -> Iterator[tuple[Resource, str]]:
    """Every namespace has a NetworkPolicy that holds all of its pods, for both directions.

    Without one, a pod that no other policy selects may connect to everything. The preview of a new cluster does not
    know the names of its namespaces; the update does.
    """
    closed = set[object]()
    for resource in resources:
        spec = _map(resource.properties.get("spec"))
        types = set(_list(spec.get("policyTypes")))
        if resource.kind.endswith(":NetworkPolicy") and not spec.get("podSelector") and types == {"Ingress", "Egress"}:
            closed.add(_map(resource.properties.get("metadata")).get("namespace"))
    for resource in resources:
        if resource.kind == "kubernetes:core/v1:Namespace":
            name = _map(resource.properties.get("metadata")).get("name")
            if name and name not in closed:
                yield resource, f"the namespace {name} has no NetworkPolicy for all of its pods"


def violations(kind: str, properties: Properties) -> list[str]:
    """Return the messages of all mandatory rules about one resource."""
    return [
        f"{rule.name}: {sentence}"
        for rule in RULES
        if kind in rule.types and not rule.advisory
        for sentence in rule.check(kind, properties)
    ]


def _world(networks: Iterable[object]) -> Iterator[str]:
    yield from (f"is open to {network}" for network in networks if network in WORLD)


def _statements(document: object) -> list[Properties]:
    parsed: object = json.loads(document) if isinstance(document, str) else document
    return _maps(_map(parsed).get("Statement"))


def _allowing(document: object) -> list[Properties]:
    return [statement for statement in _statements(document) if statement.get("Effect") == "Allow"]


def _pod(properties: Properties) -> Properties:
    spec = _map(properties.get("spec"))
    template = _map((_map(_map(spec.get("jobTemplate")).get("spec")) or spec).get("template"))
    return _map(template.get("spec"))


def _containers(properties: Properties) -> list[Properties]:
    pod = _pod(properties)
    return [*_maps(pod.get("initContainers")), *_maps(pod.get("containers"))]


def _map(value: object) -> Properties:
    """Return the value if it is a mapping, not only a dict: the pack passes its own types."""
    return cast("Properties", value) if isinstance(value, Mapping) else {}


def _list(value: object) -> list[Any]:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return list(cast("Sequence[Any]", value))
    return [] if value is None else [value]


def _maps(value: object) -> list[Properties]:
    return [_map(entry) for entry in _list(value)]
