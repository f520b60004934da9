"""What is known of AWS resources: identifiers, ARNs, names, what replaces them (formats: AWS's own guides)."""

import hashlib
from typing import Any, Final

from tests.engine.recording.values import Tree

ACCOUNT: Final = "123456789012"
REGION: Final = "eu-west-1"
# Identifiers of the form prefix-17 hex digits.
ID_PREFIXES: Final = {
    "aws:ec2/eip:Eip": "eipalloc",
    "aws:ec2/flowLog:FlowLog": "fl",
    "aws:ec2/internetGateway:InternetGateway": "igw",
    "aws:ec2/launchTemplate:LaunchTemplate": "lt",
    "aws:ec2/natGateway:NatGateway": "nat",
    "aws:ec2/route:Route": "r-rtb",
    "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup": "sg",
    "aws:ec2/routeTable:RouteTable": "rtb",
    "aws:ec2/routeTableAssociation:RouteTableAssociation": "rtbassoc",
    "aws:ec2/securityGroup:SecurityGroup": "sg",
    "aws:ec2/subnet:Subnet": "subnet",
    "aws:ec2/vpc:Vpc": "vpc",
    "aws:ec2/vpcEndpoint:VpcEndpoint": "vpce",
    "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule": "sgr",
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": "sgr",
    "aws:eks/podIdentityAssociation:PodIdentityAssociation": "a",
}
# The input that names the resource: made up when absent, and the resource's id.
NAMED_BY: Final = {
    "aws:cloudwatch/logGroup:LogGroup": "name",
    "aws:ecr/repository:Repository": "name",
    "aws:eks/cluster:Cluster": "name",
    "aws:iam/policy:Policy": "name",
    "aws:iam/role:Role": "name",
    "aws:iam/rolePolicy:RolePolicy": "name",
    "aws:kms/alias:Alias": "name",
    "aws:rds/instance:Instance": "identifier",
    "aws:rds/parameterGroup:ParameterGroup": "name",
    "aws:rds/snapshot:Snapshot": "dbSnapshotIdentifier",
    "aws:rds/subnetGroup:SubnetGroup": "name",
    "aws:s3/bucket:Bucket": "bucket",
    "aws:ec2/securityGroup:SecurityGroup": "name",
    "aws:ec2/launchTemplate:LaunchTemplate": "name",
    "aws:eks/nodeGroup:NodeGroup": "nodeGroupName",
}
# Inputs that make up the id where it is neither a name nor an identifier of the cloud.
ID_FROM: Final = {
    "aws:ecr/lifecyclePolicy:LifecyclePolicy": ("repository",),
    "aws:ecr/repositoryPolicy:RepositoryPolicy": ("repository",),
    "aws:eks/accessEntry:AccessEntry": ("clusterName", "principalArn"),
    "aws:eks/addon:Addon": ("clusterName", "addonName"),
    "aws:eks/accessPolicyAssociation:AccessPolicyAssociation": ("clusterName", "principalArn", "policyArn"),
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment": ("role", "policyArn"),
}
ARNS: Final = {
    "aws:cloudwatch/logGroup:LogGroup": "arn:aws:logs:{region}:{account}:log-group:{id}",
    "aws:ecr/repository:Repository": "arn:aws:ecr:{region}:{account}:repository/{id}",
    "aws:iam/policy:Policy": "arn:aws:iam::{account}:policy/{id}",
    "aws:iam/role:Role": "arn:aws:iam::{account}:role/{id}",
    "aws:kms/alias:Alias": "arn:aws:kms:{region}:{account}:{id}",
    "aws:kms/key:Key": "arn:aws:kms:{region}:{account}:key/{id}",
    "aws:rds/instance:Instance": "arn:aws:rds:{region}:{account}:db:{id}",
    "aws:rds/parameterGroup:ParameterGroup": "arn:aws:rds:{region}:{account}:pg:{id}",
    "aws:rds/subnetGroup:SubnetGroup": "arn:aws:rds:{region}:{account}:subgrp:{id}",
    "aws:s3/bucket:Bucket": "arn:aws:s3:::{id}",
}
SERVICES: Final = {"cloudwatch": "logs", "lb": "elasticloadbalancing", "vpc": "ec2"}
# Inputs that no update can change. A path stands for everything below it.
REPLACES: Final = {
    "aws:cloudwatch/logGroup:LogGroup": ("name",),
    "aws:ec2/eip:Eip": ("domain",),
    "aws:ec2/natGateway:NatGateway": ("allocationId", "subnetId", "connectivityType"),
    "aws:ec2/route:Route": ("routeTableId", "destinationCidrBlock"),
    "aws:ec2/routeTable:RouteTable": ("vpcId",),
    "aws:ec2/routeTableAssociation:RouteTableAssociation": ("subnetId",),
    "aws:ec2/securityGroup:SecurityGroup": ("name", "vpcId", "description"),
    "aws:ec2/subnet:Subnet": ("vpcId", "cidrBlock", "availabilityZone"),
    "aws:ec2/vpc:Vpc": ("cidrBlock",),
    "aws:ec2/vpcEndpoint:VpcEndpoint": ("vpcId", "serviceName", "vpcEndpointType"),
    "aws:ecr/repository:Repository": ("name", "encryptionConfigurations"),
    "aws:eks/accessEntry:AccessEntry": ("clusterName", "principalArn", "type"),
    "aws:eks/accessPolicyAssociation:AccessPolicyAssociation": (
        "clusterName",
        "principalArn",
        "policyArn",
        "accessScope",
    ),
    "aws:eks/addon:Addon": ("clusterName", "addonName"),
    "aws:eks/cluster:Cluster": (
        "name",
        "roleArn",
        "kubernetesNetworkConfig.serviceIpv4Cidr",
        "encryptionConfig",
        "accessConfig.bootstrapClusterCreatorAdminPermissions",
    ),
    "aws:eks/nodeGroup:NodeGroup": (
        "clusterName",
        "subnetIds",
        "instanceTypes",
        "capacityType",
        "amiType",
        "nodeRoleArn",
    ),
    "aws:eks/podIdentityAssociation:PodIdentityAssociation": ("clusterName", "namespace", "serviceAccount"),
    "aws:iam/policy:Policy": ("name", "path", "description"),
    "aws:iam/role:Role": ("name", "path"),
    "aws:iam/rolePolicy:RolePolicy": ("name", "role"),
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment": ("role", "policyArn"),
    "aws:kms/alias:Alias": ("name",),
    "aws:rds/instance:Instance": (
        "engine",
        "username",
        "dbName",
        "dbSubnetGroupName",
        "storageEncrypted",
        "kmsKeyId",
        "snapshotIdentifier",
        "availabilityZone",
        "characterSetName",
    ),
    "aws:rds/parameterGroup:ParameterGroup": ("name", "family"),
    "aws:rds/snapshot:Snapshot": ("dbInstanceIdentifier", "dbSnapshotIdentifier"),
    "aws:rds/subnetGroup:SubnetGroup": ("name",),
    "aws:s3/bucket:Bucket": ("bucket", "objectLockEnabled"),
}
# Further outputs, as formats over the inputs and id, arn, region, account, hex (digits that are the resource's own).
OUTPUTS: Final[dict[str, Any]] = {
    "aws:ec2/eip:Eip": {"allocationId": "{id}", "publicIp": "203.0.113.10"},
    "aws:ec2/natGateway:NatGateway": {"publicIp": "203.0.113.10", "privateIp": "10.40.0.10"},
    "aws:ec2/securityGroup:SecurityGroup": {"ownerId": "{account}"},
    "aws:ec2/vpc:Vpc": {
        "ownerId": "{account}",
        "defaultSecurityGroupId": "sg-{hex}",
        "defaultRouteTableId": "rtb-{hex}",
        "mainRouteTableId": "rtb-{hex}",
        "defaultNetworkAclId": "acl-{hex}",
    },
    "aws:ec2/launchTemplate:LaunchTemplate": {"latestVersion": 1, "defaultVersion": 1},
    "aws:ecr/repository:Repository": {
        "repositoryUrl": "{account}.dkr.ecr.{region}.amazonaws.com/{id}",
        "registryId": "{account}",
    },
    "aws:eks/cluster:Cluster": {
        "endpoint": "https://{hex}.gr7.{region}.eks.amazonaws.com",
        "status": "ACTIVE",
        "platformVersion": "eks.1",
        "certificateAuthority": {"data": "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0t"},
        "identities": [{"oidcs": [{"issuer": "https://oidc.eks.{region}.amazonaws.com/id/{hex}"}]}],
        "vpcConfig": {"clusterSecurityGroupId": "sg-{hex}"},
    },
    "aws:iam/role:Role": {"uniqueId": "AROA{hex}"},
    "aws:kms/key:Key": {"keyId": "{id}"},
    "aws:rds/instance:Instance": {
        "address": "{id}.c{hex}.{region}.rds.amazonaws.com",
        "port": 5432,
        "status": "available",
        "endpoint": "{id}.c{hex}.{region}.rds.amazonaws.com:5432",
        "resourceId": "db-{hex}",
    },
    "aws:rds/snapshot:Snapshot": {"dbSnapshotArn": "arn:aws:rds:{region}:{account}:snapshot:{id}"},
    "aws:s3/bucket:Bucket": {
        "bucketDomainName": "{id}.s3.amazonaws.com",
        "region": "{region}",
        "bucketRegionalDomainName": "{id}.s3.{region}.amazonaws.com",
        "hostedZoneId": "Z1BKCTXD74EZPE",
    },
}
FUNCTIONS: Final[dict[str, Any]] = {
    "aws:index/getCallerIdentity:getCallerIdentity": {
        "id": "{account}",
        "accountId": "{account}",
        "arn": "arn:aws:sts::{account}:assumed-role/mlops-deploy/engine",
        "userId": "AROAENGINE:engine",
    },
    "aws:index/getRegion:getRegion": {
        "id": "{region}",
        "name": "{region}",
        "region": "{region}",
        "description": "Europe (Ireland)",
        "endpoint": "ec2.{region}.amazonaws.com",
    },
    "aws:index/getPartition:getPartition": {
        "id": "aws",
        "partition": "aws",
        "dnsSuffix": "amazonaws.com",
        "reverseDnsPrefix": "com.amazonaws",
    },
    "aws:index/getAvailabilityZones:getAvailabilityZones": {
        "id": "{region}",
        "names": ["{region}a", "{region}b", "{region}c"],
        "zoneIds": ["euw1-az1", "euw1-az2", "euw1-az3"],
        "groupNames": ["{region}"],
        "allAvailabilityZones": False,
    },
    "aws:iam/getPolicyDocument:getPolicyDocument": {
        "id": "1",
        "json": '{{"Version": "2012-10-17", "Statement": []}}',
        "minifiedJson": '{{"Version":"2012-10-17","Statement":[]}}',
    },
    "aws:iam/getRole:getRole": {"id": "{name}", "name": "{name}", "arn": "arn:aws:iam::{account}:role/{name}"},
    "aws:iam/getPolicy:getPolicy": {"id": "{arn}", "arn": "{arn}"},
    "aws:s3/getBucket:getBucket": {"id": "{bucket}", "bucket": "{bucket}"},
    "aws:eks/getCluster:getCluster": {
        "id": "{name}",
        "arn": "arn:aws:eks:{region}:{account}:cluster/{name}",
        "status": "ACTIVE",
        "endpoint": "https://{hex}.gr7.{region}.eks.amazonaws.com",
        "version": "1.35",
        "certificateAuthorities": [{"data": "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0t"}],
        "identities": [{"oidcs": [{"issuer": "https://oidc.eks.{region}.amazonaws.com/id/{hex}"}]}],
        "vpcConfig": {"clusterSecurityGroupId": "sg-{hex}", "vpcId": "vpc-{hex}", "subnetIds": ["subnet-{hex}"]},
    },
}


def digits(text: str, count: int = 17) -> str:
    """Hex digits that are the same for the same text."""
    return hashlib.sha256(text.encode()).hexdigest()[:count]


def id_of(resource_type: str, urn: str, inputs: Tree) -> str:
    """As the cloud would give it."""
    if prefix := ID_PREFIXES.get(resource_type):
        return f"{prefix}-{digits(urn)}"
    if parts := ID_FROM.get(resource_type):
        return ":".join(str(inputs.get(part)) for part in parts)
    if resource_type == "aws:kms/key:Key":
        return "-".join(digits(urn, 32)[start:end] for start, end in ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32)))
    name = inputs.get(NAMED_BY.get(resource_type, "name")) or inputs.get("bucket")
    return str(name) if name else f"{urn.rpartition('::')[2]}-{digits(urn, 7)}"


def arn_of(resource_type: str, identity: str) -> str:
    """By the table, else in the form that most services share."""
    _, module, kind = resource_type.split(":")
    service = SERVICES.get(module.split("/")[0], module.split("/")[0])
    general = f"arn:aws:{service}:{{region}}:{{account}}:{kind.lower()}/{{id}}"
    return ARNS.get(resource_type, general).format(region=REGION, account=ACCOUNT, id=identity)
