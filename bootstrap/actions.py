"""AWS actions with which Pulumi manages the resources of the platform's stacks, one by one."""

from collections.abc import Iterable


def _of(service: str, names: str) -> tuple[str, ...]:
    return tuple(f"{service}:{name}" for name in names.split())


NETWORK = _of(
    "ec2",
    """
    AllocateAddress AssociateRouteTable AttachInternetGateway AuthorizeSecurityGroupEgress
    AuthorizeSecurityGroupIngress CreateFlowLogs CreateInternetGateway CreateLaunchTemplate
    CreateLaunchTemplateVersion CreateNatGateway CreateRoute CreateRouteTable CreateSecurityGroup CreateSubnet
    CreateTags CreateVpc CreateVpcEndpoint DeleteFlowLogs DeleteInternetGateway DeleteLaunchTemplate
    DeleteNatGateway DeleteRoute DeleteRouteTable DeleteSecurityGroup DeleteSubnet DeleteTags DeleteVpc
    DeleteVpcEndpoints DescribeAccountAttributes DescribeAddresses DescribeAddressesAttribute
    DescribeAvailabilityZones DescribeFlowLogs DescribeInternetGateways DescribeLaunchTemplateVersions
    DescribeLaunchTemplates DescribeNatGateways DescribeNetworkAcls DescribeNetworkInterfaces DescribePrefixLists
    DescribeRouteTables DescribeSecurityGroupRules DescribeSecurityGroups DescribeSubnets DescribeTags
    DescribeVpcAttribute DescribeVpcEndpoints DescribeVpcs DetachInternetGateway DetachNetworkInterface
    DisassociateAddress DisassociateRouteTable ModifyLaunchTemplate ModifySecurityGroupRules ModifySubnetAttribute
    ModifyVpcAttribute ModifyVpcEndpoint ReleaseAddress ReplaceRoute ReplaceRouteTableAssociation
    RevokeSecurityGroupEgress RevokeSecurityGroupIngress RunInstances
    """,
)
"""Actions on the network; EKS asks for RunInstances when a node group has a launch template."""
CLUSTER = _of(
    "eks",
    """
    AssociateAccessPolicy CreateAccessEntry CreateAddon CreateCluster CreateNodegroup CreatePodIdentityAssociation
    DeleteAccessEntry DeleteAddon DeleteCluster DeleteNodegroup DeletePodIdentityAssociation DescribeAccessEntry
    DescribeAddon DescribeAddonVersions DescribeCluster DescribeNodegroup DescribePodIdentityAssociation
    DescribeUpdate DisassociateAccessPolicy ListAssociatedAccessPolicies ListTagsForResource TagResource
    UntagResource UpdateAccessEntry UpdateAddon UpdateClusterConfig UpdateClusterVersion UpdateNodegroupConfig
    UpdateNodegroupVersion UpdatePodIdentityAssociation
    """,
)
LOGS = _of(
    "logs",
    """
    AssociateKmsKey CreateLogGroup DeleteLogGroup DeleteRetentionPolicy DescribeLogGroups DisassociateKmsKey
    ListTagsForResource PutRetentionPolicy TagResource UntagResource
    """,
)
IMAGES = _of(
    "ecr",
    """
    BatchCheckLayerAvailability BatchDeleteImage CompleteLayerUpload CreateRepository DeleteLifecyclePolicy
    DeleteRepository DeleteRepositoryPolicy DescribeRepositories GetLifecyclePolicy GetRepositoryPolicy
    InitiateLayerUpload ListImages ListTagsForResource PutImage PutImageScanningConfiguration PutImageTagMutability
    PutLifecyclePolicy SetRepositoryPolicy TagResource UntagResource UploadLayerPart
    """,
)
PUSH_IMAGES = _of(
    "ecr",
    """
    BatchCheckLayerAvailability BatchGetImage CompleteLayerUpload InitiateLayerUpload PutImage UploadLayerPart
    """,
)
"""Actions that `docker push` needs (ECR user guide, "Required IAM permissions for pushing an image")."""
PULL_IMAGES = _of(
    "ecr",
    """
    BatchGetImage GetAuthorizationToken GetDownloadUrlForLayer
    """,
)
DATABASE = _of(
    "rds",
    """
    AddTagsToResource CreateDBInstance CreateDBParameterGroup CreateDBSnapshot CreateDBSubnetGroup DeleteDBInstance
    DeleteDBParameterGroup DeleteDBSnapshot DeleteDBSubnetGroup DescribeDBEngineVersions DescribeDBInstances
    DescribeDBParameterGroups DescribeDBParameters DescribeDBSnapshots DescribeDBSubnetGroups ListTagsForResource
    ModifyDBInstance ModifyDBParameterGroup ModifyDBSubnetGroup RebootDBInstance RemoveTagsFromResource
    ResetDBParameterGroup RestoreDBInstanceFromDBSnapshot
    """,
)
BUCKET = _of(
    "s3",
    """
    CreateBucket DeleteBucket DeleteBucketPolicy DeleteObject DeleteObjectVersion GetAccelerateConfiguration
    GetBucketAcl GetBucketCORS GetBucketLocation GetBucketLogging GetBucketObjectLockConfiguration
    GetBucketOwnershipControls GetBucketPolicy GetBucketPublicAccessBlock GetBucketRequestPayment GetBucketTagging
    GetBucketVersioning GetBucketWebsite GetEncryptionConfiguration GetLifecycleConfiguration
    GetReplicationConfiguration ListBucket ListBucketVersions ListTagsForResource PutBucketLogging
    PutBucketOwnershipControls PutBucketPolicy PutBucketPublicAccessBlock PutBucketTagging PutBucketVersioning
    PutEncryptionConfiguration PutLifecycleConfiguration TagResource UntagResource
    """,
)
KEYS = _of(
    "kms",
    """
    CreateAlias CreateGrant CreateKey DeleteAlias DescribeKey EnableKeyRotation GetKeyPolicy GetKeyRotationStatus
    ListAliases ListGrants ListResourceTags PutKeyPolicy RetireGrant ScheduleKeyDeletion TagResource UntagResource
    UpdateAlias UpdateKeyDescription
    """,
)
SIGN_ON = (
    *_of(
        "sso",
        """
        AssociateProfile CreateManagedApplicationInstance DeleteManagedApplicationInstance DescribeRegisteredRegions
        DisassociateProfile GetManagedApplicationInstance GetProfile GetSharedSsoConfiguration
        ListDirectoryAssociations ListProfileAssociations ListProfiles
        """,
    ),
    *_of("sso-directory", "DescribeGroup DescribeUser"),
    "organizations:DescribeOrganization",
)
"""Actions on IAM Identity Center that Managed Grafana asks for (AWS managed policy
AWSGrafanaWorkspacePermissionManagementV2, and service authorization reference)."""
OBSERVATION = (
    *SIGN_ON,
    *_of(
        "grafana",
        """
        CreateWorkspace DeleteWorkspace DescribeWorkspace DescribeWorkspaceAuthentication
        DescribeWorkspaceConfiguration ListPermissions ListTagsForResource TagResource UntagResource
        UpdatePermissions UpdateWorkspace UpdateWorkspaceAuthentication UpdateWorkspaceConfiguration
        """,
    ),
    *_of(
        "aps",
        """
        CreateAlertManagerDefinition CreateRuleGroupsNamespace CreateScraper CreateWorkspace
        DeleteAlertManagerDefinition DeleteRuleGroupsNamespace DeleteScraper DeleteWorkspace
        DescribeAlertManagerDefinition DescribeLoggingConfiguration DescribeRuleGroupsNamespace DescribeScraper
        DescribeWorkspace ListTagsForResource PutAlertManagerDefinition PutRuleGroupsNamespace TagResource
        UntagResource UpdateScraper UpdateWorkspaceAlias
        """,
    ),
    *_of(
        "cloudwatch",
        """
        DeleteAlarms DescribeAlarms ListTagsForResource PutMetricAlarm TagResource UntagResource
        """,
    ),
    *_of(
        "sns",
        """
        CreateTopic DeleteTopic GetSubscriptionAttributes GetTopicAttributes ListTagsForResource SetTopicAttributes
        Subscribe TagResource Unsubscribe UntagResource
        """,
    ),
)
BACKUP = (
    *_of(
        "backup",
        """
        CreateBackupPlan CreateBackupSelection CreateBackupVault DeleteBackupPlan DeleteBackupSelection
        DeleteBackupVault DeleteRecoveryPoint DescribeBackupVault DescribeRecoveryPoint GetBackupPlan
        GetBackupSelection ListRecoveryPointsByBackupVault ListTags TagResource UntagResource UpdateBackupPlan
        """,
    ),
    "backup-storage:MountCapsule",
    *_of("kms", "Decrypt GenerateDataKey"),
)
"""Actions on vaults and plans; AWS Backup asks for the last three when a vault is created."""
QUERIES = (
    *_of(
        "athena",
        """
        CreateWorkGroup DeleteWorkGroup GetWorkGroup ListTagsForResource TagResource UntagResource UpdateWorkGroup
        """,
    ),
    *_of(
        "glue",
        """
        CreateDatabase CreateTable DeleteDatabase DeleteTable GetDatabase GetPartitionIndexes GetTable GetTags
        TagResource UntagResource UpdateDatabase UpdateTable
        """,
    ),
)
"""Actions on Athena's workgroup and on the tables of the prediction log."""
READ_ROLES = _of(
    "iam",
    """
    GetRole GetRolePolicy ListAttachedRolePolicies ListInstanceProfilesForRole ListRolePolicies ListRoleTags
    """,
)
BOUNDED = _of(
    "iam",
    """
    AttachRolePolicy CreateRole PutRolePermissionsBoundary PutRolePolicy
    """,
)
"""Actions that can raise a role's rights; for each of them, IAM compares the role's permissions boundary."""
WRITE_ROLES = _of(
    "iam",
    """
    DeleteRole DeleteRolePolicy DetachRolePolicy TagRole UntagRole UpdateAssumeRolePolicy UpdateRole
    """,
)
INSTANCE_PROFILES = _of(
    "iam",
    """
    AddRoleToInstanceProfile CreateInstanceProfile DeleteInstanceProfile GetInstanceProfile
    RemoveRoleFromInstanceProfile TagInstanceProfile
    """,
)
"""Actions of EKS Auto Mode, whose cluster role creates an instance profile for each node class."""
DOCTOR = (
    *_of("acm", "DescribeCertificate"),
    *_of("ec2", "DescribeInstanceTypeOfferings DescribeInstanceTypes DescribeRegions"),
    *_of("ecr", "DescribeImages"),
    *_of("eks", "DescribeClusterVersions"),
    *_of("rds", "DescribeOrderableDBInstanceOptions"),
    *_of("servicequotas", "ListServiceQuotas"),
)
"""Actions of `mlops doctor` that Pulumi does not need."""
PLATFORM = {
    "network": NETWORK,
    "cluster": CLUSTER + LOGS + IMAGES + PULL_IMAGES,
    "data": DATABASE + BUCKET + KEYS,
    "observation": OBSERVATION + BACKUP,
    "queries": QUERIES,
    "doctor": DOCTOR,
}
"""Actions on the resources of a stack; each entry becomes one policy, because IAM limits a policy's length."""


def reading(actions: Iterable[str]) -> list[str]:
    """Return the actions that only read the settings of resources."""
    verbs = ("Describe", "Get", "List")
    return [each for each in actions if each.partition(":")[2].startswith(verbs) and each not in PULL_IMAGES]
