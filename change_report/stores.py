"""Types of resources that hold data or keys to data, so that their deletion loses something."""

STORES = {
    "aws:s3/bucket:Bucket": "bucket",
    "aws:s3/bucketV2:BucketV2": "bucket",
    "aws:rds/instance:Instance": "database",
    "aws:rds/cluster:Cluster": "database",
    "aws:dynamodb/table:Table": "table",
    "aws:ebs/volume:Volume": "volume",
    "aws:efs/fileSystem:FileSystem": "file system",
    "aws:kms/key:Key": "encryption key",
    "aws:ecr/repository:Repository": "image repository",
    "aws:secretsmanager/secret:Secret": "secret",
    "aws:cloudwatch/logGroup:LogGroup": "log group",
    "aws:eks/cluster:Cluster": "cluster",
    "kubernetes:core/v1:Namespace": "namespace",
    "kubernetes:core/v1:PersistentVolume": "volume",
    "kubernetes:core/v1:PersistentVolumeClaim": "volume claim",
    "kubernetes:apps/v1:StatefulSet": "StatefulSet",
    "kubernetes:apiextensions.k8s.io/v1:CustomResourceDefinition": "resource definition",
}
"""Noun for each type, such as bucket or volume. Snapshots are not here, because they are copies.

A cluster, a namespace and a resource definition are deleted together with all objects in them.
"""
