"""Types of values of an AWS stack, each with its rule, the reason for it and what to write instead."""

import ipaddress
from typing import Annotated, Literal

from cryptography import x509
from pydantic import AfterValidator, Field, StringConstraints

from components.aws import instance_families, node_pool, subnets
from infra.config.rules import LABEL, Rule

KUBERNETES_VERSIONS = ("1.35", "1.36")
"""Versions in EKS standard support, 1.35 until 2027-03-27 (EKS user guide, "Kubernetes version lifecycle")."""
POSTGRES_VERSIONS = ("16", "17")
INTERFACE_ENDPOINTS = (
    "athena",
    "ec2",
    "ecr.api",
    "ecr.dkr",
    "eks",
    "eks-auth",
    "elasticloadbalancing",
    "kms",
    "logs",
    "sts",
)
NEEDED_WITHOUT_NAT = frozenset({"ec2", "ecr.api", "ecr.dkr", "eks-auth", "sts"})
"""Services that a node needs to start, to pull images and to give pods their roles (EKS user guide, "Private
clusters")."""
BUILT_IN_POOLS = ("default", "general-purpose", "system")
"""Names of Auto Mode's own node class and node pools (EKS user guide, "Create a Node Class")."""
RETENTIONS = (1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653)
"""Numbers of days that CloudWatch Logs accepts (PutRetentionPolicy)."""
ROLE_ARN = StringConstraints(pattern=r"^arn:aws[a-z-]*:iam::\d{12}:role/[A-Za-z0-9+=,.@/_-]+$")
BUCKET_NAME = r"^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$"
STACK_NAME = r"[a-z](-?[a-z0-9])*"
MAX_STACK, MAX_POOL = 24, 25
"""Largest lengths of a stack's and a pool's name: a role's name has project, stack and pool, at most 64 characters."""
MAX_NODE_DAYS = node_pool.MAX_AGE_DAYS - node_pool.GRACE_HOURS // 24
"""Largest `expireAfter` in days: with the grace period it must not exceed 21 days, the maximum age of Auto Mode's nodes
(EKS user guide, "Create a Node Pool")."""


RESERVED_NETWORKS = [
    ipaddress.IPv4Network(cidr)
    for cidr in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.168.0.0/16",
    )
]
"""Networks that EKS refuses in `publicAccessCidrs` (EKS user guide, "Configure network access to cluster API")."""


def _network(cidr: str) -> str:
    subnets.plan(cidr, subnets.MAX_ZONES)
    return cidr


def _certificates(pem: str) -> str:
    x509.load_pem_x509_certificates(pem.encode())
    return pem


def _services(cidr: str) -> str:
    block = subnets.block(cidr)
    if not 12 <= block.prefixlen <= 24 or not block.is_private:
        raise ValueError(cidr)
    return cidr


def _named_network(cidr: str) -> str:
    if ipaddress.ip_network(cidr).prefixlen < 8:
        raise ValueError(cidr)
    return cidr


def _ipv4_network(cidr: str) -> str:
    return str(ipaddress.IPv4Network(_named_network(cidr)))


def _network_of_the_internet(cidr: str) -> str:
    block = ipaddress.IPv4Network(_named_network(cidr))
    if any(block.overlaps(reserved) for reserved in RESERVED_NETWORKS):
        raise ValueError(cidr)
    return str(block)


def _known_family(family: str) -> str:
    if family not in {*instance_families.CPU, *instance_families.GPU}:
        raise ValueError(family)
    return family


def _not_built_in(pool: str) -> str:
    if pool in BUILT_IN_POOLS:
        raise ValueError(pool)
    return pool


def not_reserved(bucket: str) -> str:
    """Refuse names with a prefix or suffix that S3 reserves ("General purpose bucket naming rules")."""
    if bucket.startswith(("xn--", "sthree-", "amzn-s3-demo-")) or bucket.endswith(("-s3alias", "--ol-s3", "--x-s3")):
        raise ValueError(bucket)
    return bucket


AccountId = Annotated[
    str,
    StringConstraints(pattern=r"^\d{12}$"),
    Rule(
        must="must be an AWS account's number: 12 digits, in quotes",
        because="the program refuses credentials of other accounts, and YAML reads 0123 as another number",
        instead="write the output of `aws sts get-caller-identity --query Account`; "
        "with pulumi config set add --type string",
    ),
]
AwsPoolName = Annotated[
    str,
    StringConstraints(pattern=rf"^{LABEL}$", max_length=MAX_POOL),
    AfterValidator(_not_built_in),
    Rule(
        must=f"must be a DNS label of at most {MAX_POOL} characters other than {', '.join(BUILT_IN_POOLS)}",
        because="nodes, their class and their role are named after it, and Auto Mode has pools with those three names",
        instead="rename it, as in cpu or gpu",
    ),
]
ClusterName = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9A-Za-z][-0-9A-Za-z_]{0,99}$"),
    Rule(
        must="must be the name of an EKS cluster: letters, digits, - and _, at most 100",
        because="the program looks the cluster up by this name",
        instead="choose one that `aws eks list-clusters` lists",
    ),
]
VpcCidr = Annotated[
    str,
    AfterValidator(_network),
    Rule(
        must="must be a private IPv4 block from /16 to /23 that begins at its own address",
        because="AWS allows no larger VPC, and a load balancer needs a subnet (/27) in each zone",
        instead="write a block that none of your other networks uses, as in cidr: 10.40.0.0/16",
    ),
]
ServiceCidr = Annotated[
    str,
    AfterValidator(_services),
    Rule(
        must="must be a private IPv4 block from /12 to /24 that begins at its own address",
        because="EKS assigns the Services' addresses from it and accepts no other size",
        instead="write it as in service_cidr: 172.20.0.0/16",
    ),
]
NamedCidr = Annotated[
    str,
    AfterValidator(_named_network),
    Rule(
        must="must be an IP block of /8 or smaller that begins at its own address",
        because="access is given to named networks, never to the whole internet",
        instead="write your office's or VPN's addresses, as in 203.0.113.0/24",
    ),
]
PublicApiCidr = Annotated[
    str,
    AfterValidator(_network_of_the_internet),
    Rule(
        must="must be a block of the internet's IPv4 addresses, of /8 or smaller, that begins at its own address",
        because="access to the API is given to named networks, never to the whole internet, "
        "and EKS accepts neither IPv6 nor private addresses here",
        instead="write your office's addresses, as in 203.0.113.0/24, and private networks in private_access_cidrs",
    ),
]
PrivateApiCidr = Annotated[
    str,
    AfterValidator(_ipv4_network),
    Rule(
        must="must be an IPv4 block of /8 or smaller that begins at its own address",
        because="the API's private address is IPv4, and access is given to named networks",
        instead="write the networks of your VPN or of peered VPCs, as in 10.8.0.0/16 (the cluster's VPC has access)",
    ),
]
Zones = Annotated[
    int,
    Field(strict=True, ge=2, le=subnets.MAX_ZONES),
    Rule(
        must="must be 2 or 3",
        because="EKS and a standby database need two zones, and a fourth adds cost without safety",
        instead="write availability_zones: 3, or 2 to save money",
    ),
]
ZoneName = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z]{2}(-[a-z]+)+-\d[a-z]$"),
    Rule(
        must="must be the name of an availability zone",
        because="nodes start only in the zones that you name",
        instead="choose one that `aws ec2 describe-availability-zones` lists, as in eu-west-1a",
    ),
]
NatGateways = Annotated[
    Literal["none", "one", "per_zone"],
    Rule(
        must="must be none, one or per_zone",
        because="each costs money by the hour; with only one, the failure of its zone cuts off the other zones",
        instead="write nat_gateways: one for development, per_zone for production",
    ),
]
LoadBalancers = Annotated[
    Literal["shared", "moving", "own"],
    Rule(
        must="must be shared, moving or own",
        because="pods admit load balancers by their subnets: with shared subnets every pod of the VPC is admitted too",
        instead="write load_balancers: own in a new stack; moving, an update, and then own in one that exists",
    ),
]
Egress = Annotated[
    Literal["https", "s3"],
    Rule(
        must="must be https or s3",
        because="it says which addresses outside the cluster pods may reach on port 443: all, or those of S3",
        instead="write egress: s3; or https, if training runs download from the internet",
    ),
]
InterfaceEndpoint = Annotated[
    Literal["athena", "ec2", "ecr.api", "ecr.dkr", "eks", "eks-auth", "elasticloadbalancing", "kms", "logs", "sts"],
    Rule(
        must=f"must be one of {', '.join(INTERFACE_ENDPOINTS)}",
        because="the platform uses these services (S3 always has a gateway endpoint)",
        instead="remove the other services: each endpoint costs money by the hour and zone",
    ),
]
VpcId = Annotated[
    str,
    StringConstraints(pattern=r"^vpc-[0-9a-f]{8}([0-9a-f]{9})?$"),
    Rule(
        must="must be the id of a VPC: vpc- and 8 or 17 hexadecimal digits",
        because="the cluster is created in it",
        instead="choose one that `aws ec2 describe-vpcs` lists",
    ),
]
SubnetId = Annotated[
    str,
    StringConstraints(pattern=r"^subnet-[0-9a-f]{8}([0-9a-f]{9})?$"),
    Rule(
        must="must be the id of a subnet: subnet- and 8 or 17 hexadecimal digits",
        because="nodes, the database or load balancers are created in it",
        instead="choose one that `aws ec2 describe-subnets` lists",
    ),
]
KubernetesVersion = Annotated[
    Literal["1.35", "1.36"],
    Rule(
        must=f"must be {' or '.join(KUBERNETES_VERSIONS)}, in quotes",
        because="other versions are not in EKS's standard support or not tested, and YAML reads 1.30 as 1.3",
        instead=f'write kubernetes_version: "{KUBERNETES_VERSIONS[0]}"',
    ),
]
PostgresVersion = Annotated[
    Literal["16", "17"],
    Rule(
        must=f"must be {' or '.join(POSTGRES_VERSIONS)}, in quotes",
        because="MLflow is tested with these major versions, and RDS chooses the minor version",
        instead=f'write engine_version: "{POSTGRES_VERSIONS[-1]}"',
    ),
]
RoleArn = Annotated[
    str,
    ROLE_ARN,
    Rule(
        must="must be the ARN of an IAM role: arn:aws:iam::<account>:role/<name>",
        because="the program creates an access entry for it, and EKS accepts no session and no wildcard",
        instead="write the output of `aws iam get-role --query Role.Arn`",
    ),
]
PersonRole = Annotated[
    str,
    ROLE_ARN,
    Rule(
        must="must be the ARN of an IAM role: arn:aws:iam::<account>:role/<name>",
        because="people enter the cluster with a role, and EKS accepts no session and no wildcard",
        instead="write the output of `aws iam get-role --query Role.Arn`",
    ),
]
ImageReader = Annotated[
    str,
    ROLE_ARN,
    Rule(
        must="must be the ARN of an IAM role: arn:aws:iam::<account>:role/<name>",
        because="the image repositories refuse layers to every other role",
        instead="write the output of `aws iam get-role --query Role.Arn`",
    ),
]
PolicyArn = Annotated[
    str,
    StringConstraints(pattern=r"^arn:aws[a-z-]*:iam::\d{12}:policy/[A-Za-z0-9+=,.@/_-]+$"),
    Rule(
        must="must be the ARN of a customer managed IAM policy",
        because="it limits the permissions of each role of the stack",
        instead="write it as in arn:aws:iam::111122223333:policy/boundary, or leave the key out",
    ),
]
CertificateArn = Annotated[
    str,
    StringConstraints(pattern=r"^arn:aws[a-z-]*:acm:[a-z0-9-]+:\d{12}:certificate/[0-9a-f-]{36}$"),
    Rule(
        must="must be the ARN of a certificate in ACM",
        because="the load balancer shows it to clients",
        instead="choose one that `aws acm list-certificates` lists, in the stack's region",
    ),
]
HostName = Annotated[
    str,
    StringConstraints(pattern=r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}$", max_length=253),
    Rule(
        must="must be a full host name in lower case, without a port or a path",
        because="the load balancer answers requests for this host only, and you point its DNS record there",
        instead="write it as in churn.models.example.com",
    ),
]
Scheme = Annotated[
    Literal["internal", "public"],
    Rule(
        must="must be internal or public",
        because="it decides whether the internet can reach the load balancer at all",
        instead="write scheme: public, or leave the key out for internal",
    ),
]
IdleSeconds = Annotated[
    int,
    Field(strict=True, ge=1, le=4000),
    Rule(
        must="must be a whole number of seconds from 1 to 4000",
        because="the load balancer closes an idle connection after this time, and AWS accepts no other number",
        instead="write more seconds than the slowest response takes, as in idle_timeout_seconds: 60",
    ),
]
LogDays = Annotated[
    int,
    Field(strict=True),
    AfterValidator(lambda days: RETENTIONS[RETENTIONS.index(days)]),
    Rule(
        must=f"must be one of {', '.join(map(str, RETENTIONS))}",
        because="CloudWatch accepts only these numbers of days",
        instead="write 30 for development, 365 if auditors require it",
    ),
]
Family = Annotated[
    str,
    AfterValidator(_known_family),
    Rule(
        must="must be an instance family that EKS Auto Mode starts, generation 5 or newer, with NVIDIA GPUs or none",
        because="otherwise no node starts, and pods stay pending without an error",
        instead="write families without a size, as in m7i or g6 (components/aws/instance_families.py lists them)",
    ),
]
InstanceType = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9-]+\.(\d*xlarge|large|medium|metal(-\w+)?)$"),
    Rule(
        must="must be an instance type of medium size or larger",
        because="a managed node group starts exactly these types",
        instead="write it as in m7i.xlarge",
    ),
]
Capacity = Annotated[
    Literal["on-demand", "spot"],
    Rule(
        must="must be on-demand or spot",
        because="spot instances are cheaper, but AWS takes them back with two minutes' notice",
        instead="write capacity: [spot, on-demand] to allow both",
    ),
]
Architecture = Annotated[
    Literal["amd64", "arm64"],
    Rule(
        must="must be amd64 or arm64",
        because="the images are built for one of them",
        instead="write architecture: amd64",
    ),
]
MaxGpus = Annotated[
    int,
    Field(strict=True, ge=1, le=1000),
    Rule(
        must="must be a whole number from 1 to 1000",
        because="it limits the cost of the pool; nothing else stops its growth",
        instead="write it as in gpu: {kind: nvidia, max: 4}",
    ),
]
NodeDays = Annotated[
    int,
    Field(strict=True, ge=1, le=MAX_NODE_DAYS),
    Rule(
        must=f"must be a whole number of days from 1 to {MAX_NODE_DAYS}",
        because="a node gets one more day to end its pods, and Auto Mode allows an age of at most 21 days",
        instead="write expire_after_days: 14",
    ),
]
Disrupted = Annotated[
    str,
    StringConstraints(pattern=r"^(\d{1,3}|\d{1,2}%|100%)$"),
    Rule(
        must="must be a number of nodes or a percentage, in quotes",
        because="at most this many nodes are drained at the same time",
        instead='write max_disrupted: "10%"',
    ),
]
DiskGib = Annotated[
    int,
    Field(strict=True, ge=20, le=16_384),
    Rule(
        must="must be a whole number of GiB from 20 to 16384",
        because="the operating system and one ML image need about 20",
        instead="write 80, or 200 for GPU images",
    ),
]
Nodes = Annotated[
    int,
    Field(strict=True, ge=1, le=450),
    Rule(
        must="must be a whole number from 1 to 450",
        because="a managed node group has a constant size here, and EKS allows at most 450 nodes",
        instead="write it as in min: 2, max: 2, or use kind: auto to start from zero",
    ),
]
BucketName = Annotated[
    str,
    StringConstraints(pattern=BUCKET_NAME),
    AfterValidator(not_reserved),
    Rule(
        must="must be 3 to 63 characters of a-z, 0-9 and -, with a letter or digit at both ends and no reserved prefix",
        because="S3 refuses other names, and TLS fails with a dot in the name",
        instead="write it as in acme-mlops-prod, or leave the key out, so that Pulumi chooses a name",
    ),
]
KeptDays = Annotated[
    int,
    Field(strict=True, ge=1, le=3650),
    Rule(
        must="must be a whole number of days from 1 to 3650",
        because="you pay for the storage during this time, and afterwards nothing can restore the objects",
        instead="write 30 for overwritten objects, 90 for prediction logs",
    ),
]
AccessLogDays = Annotated[
    int,
    Field(strict=True, ge=1, le=3650),
    Rule(
        must="must be a whole number of days from 1 to 3650",
        because="S3 deletes the files of the access logs after this time, and you pay for them until then",
        instead="write access_log_days: 90, or leave the key out for no access logs",
    ),
]
BackupKeptDays = Annotated[
    int,
    Field(strict=True, ge=1, le=3650),
    Rule(
        must="must be a whole number of days from 1 to 3650",
        because="AWS Backup deletes a backup after this time, and you pay for it until then",
        instead="write 35",
    ),
]
Region = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z]{2}(-[a-z]+)+-\d$"),
    Rule(
        must="must be the name of an AWS region other than the stack's",
        because="a copy in another region outlives the loss of the stack's region",
        instead="choose one that `aws ec2 describe-regions` lists, as in eu-central-1",
    ),
]
Email = Annotated[
    str,
    StringConstraints(pattern=r"^[^@\s]+@[^@\s]+\.[a-z]{2,}$"),
    Rule(
        must="must be an address of e-mail",
        because="AWS sends the alarms to it, after its owner has confirmed the first message",
        instead="write the address of a list that is always read, as in oncall@example.com",
    ),
]
InstanceClass = Annotated[
    str,
    StringConstraints(
        pattern=r"^db\.(t(3|4g)\.(micro|small|medium|large|2?xlarge)|[mr](5|6g|6i|7g|7i|8g)\.(large|\d{0,2}xlarge))$"
    ),
    Rule(
        must="must be an instance class of RDS for PostgreSQL",
        because="RDS accepts no other class",
        instead="write db.t4g.small for development, db.m7g.large for production",
    ),
]
StorageGib = Annotated[
    int,
    Field(strict=True, ge=20, le=65_536),
    Rule(
        must="must be a whole number of GiB from 20 to 65536",
        because="RDS has no smaller or larger gp3 volume, and a volume cannot shrink",
        instead="start small: it grows by itself up to max_storage_gib",
    ),
]
BackupDays = Annotated[
    int,
    Field(strict=True, ge=0, le=35),
    Rule(
        must="must be a whole number of days from 0 to 35",
        because="RDS keeps automated backups for at most 35 days",
        instead="write 14, or 0 if the data may be lost",
    ),
]
SnapshotId = Annotated[
    str,
    StringConstraints(
        pattern=r"^(rds:)?[A-Za-z][-A-Za-z0-9]{0,254}$|^arn:aws[a-z-]*:rds:[a-z0-9-]+:\d{12}:snapshot:\S+$"
    ),
    Rule(
        must="must name a snapshot of a database",
        because="a new database starts with its content",
        instead="choose one that `aws rds describe-db-snapshots` lists",
    ),
]
Authority = Annotated[
    str,
    AfterValidator(_certificates),
    Rule(
        must="must hold certificates (PEM)",
        because="MLflow connects only to a database whose certificate one of them has signed",
        instead="write the content of https://truststore.pki.rds.amazonaws.com/REGION/REGION-bundle.pem, indented, "
        "below authority: |",
    ),
]
KeepImages = Annotated[
    int,
    Field(strict=True, ge=5, le=1000),
    Rule(
        must="must be a whole number from 5 to 1000",
        because="images in use, and those that a rollback needs, must not be deleted",
        instead="write keep_images: 50",
    ),
]
MAX_CPUS = Rule(
    must="must be a whole number of at least 2 in a pool without GPUs, and left out in a pool with gpu",
    because="it limits the cost of the pool; nothing else stops its growth",
    instead="write it as in max_cpus: 64",
)
PUBLIC_TLS = Rule(
    must="must be the ARN of a certificate in ACM if the scheme is public",
    because="a public load balancer must use HTTPS",
    instead="request a certificate for the host (aws acm request-certificate), or write scheme: internal",
)
PUBLIC_NETWORKS = Rule(
    must="must be a list of one network or more if the scheme is public",
    because="the server has no user accounts, so the network decides who may send requests",
    instead="write cidrs: [203.0.113.0/24], or scheme: internal",
)
NO_PUBLIC_TRACKING = Rule(
    must="must be internal",
    because="MLflow has no user accounts here, so everyone who reaches it can change every model",
    instead="leave the key out and use a VPN, or `kubectl port-forward -n mlops-platform service/mlflow 5000`",
)
DATASET_IN_BUCKET = Rule(
    must="must be in the stack's own bucket below datasets/",
    because="the training role may read only there, so the Job would fail with AccessDenied",
    instead="copy the file there and write s3://<mlops:foundation.artifacts.bucket>/datasets/<file>",
)
LEAST_DRAIN = 15
DRAIN_BEHIND_LOAD_BALANCER = Rule(
    must=f"must be used with drain_seconds of at least {LEAST_DRAIN}",
    because="a load balancer sends requests to a terminating pod for some seconds",
    instead="write drain_seconds: 20",
)
PUBLIC_SUBNETS = Rule(
    must="must have scheme: internal if mlops:foundation.network lists fewer than two public_subnet_ids",
    because="a public load balancer needs public subnets in two zones",
    instead="list them in mlops:foundation.network.public_subnet_ids, or leave scheme out",
)
ROOM_FOR_LOAD_BALANCERS = Rule(
    must=f"must be shared in a VPC smaller than /{subnets.OWN_PREFIX}",
    because="a load balancer needs a /27 in each zone, and the VPC has no room for further subnets",
    instead="leave load_balancers out; the cidr of a VPC cannot change",
)
EXISTING_NEEDS_EXISTING = Rule(
    must="must be of kind new if network.kind is new",
    because="an existing cluster is in another VPC, so nodes cannot join it and its pods cannot reach the database",
    instead="write network: {kind: existing, ...} with the cluster's VPC and subnets",
)
ONE_ARCHITECTURE = Rule(
    must="must contain pools of one architecture only",
    because="an image runs on one architecture, and MLflow and the endpoints run on any pool without GPUs",
    instead="write architecture: amd64 in every pool, or arm64 in every pool with images built for it",
)
INGRESS_NEEDS_AWS = Rule(
    must="must be left out if mlops:foundation.kind is local",
    because="nothing in the cluster would create a load balancer for it",
    instead="use `kubectl port-forward`, or create an Ingress outside this program",
)
ADMINISTRATORS = Rule(
    must="must be a list of one role or more, each once",
    because="only access entries give access to the cluster, so without one no person and no role has access",
    instead="write the ARN of the role that runs pulumi, and of further administrators",
)
PREVIEWERS = Rule(
    must="must be a list of roles, each once, none of which is in admin_role_arns",
    because="EKS gives a role one access entry, which either reads or administers",
    instead="keep each role in one of the two lists",
)
ONE_LIST = Rule(
    must="must name each role once, in one of viewers, trainers, oncall, admins, admin_role_arns and preview_role_arns",
    because="EKS has one access entry for a role, and each list but viewers includes the rights of viewers",
    instead="remove the role from all lists but one",
)
SOME_FAMILIES = Rule(
    must="must be a list of one instance family or more",
    because="spot and on-demand capacity run out one family at a time",
    instead="write two or three similar families, as in [m7i, m7a]",
)
SOME_CAPACITY = Rule(
    must="must be a list of on-demand, spot or both",
    because="without a purchase option, the pool starts no instances",
    instead="write capacity: [on-demand]",
)
SOME_SUBNETS = Rule(
    must="must be a list of two subnets or more, each once",
    because="EKS and RDS need subnets in two availability zones",
    instead="list one subnet for each zone",
)
SUBNETS = Rule(
    must="must be a list of subnets, each once",
    because="public load balancers are created in them",
    instead="list one subnet for each zone, or none if no load balancer is public",
)
