"""ECR repositories of the platform's images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.aws.account import Account
from components.aws.encryption_key import EncryptionKey, EncryptionKeyArgs
from components.aws.policy_documents import pulled_by


@dataclass(frozen=True, kw_only=True)
class ImageRegistryArgs:
    """Settings of the repositories."""

    prefix: str
    """Prefix of each repository's name, `<prefix>/<image>`."""
    images: Sequence[str]
    """Names of the images."""
    puller_role_arns: Sequence[str]
    """Roles that may download layers, such as those of nodes and CI; they need not exist yet."""
    keep: int
    """Number of images that each repository keeps; ECR deletes older ones."""
    protected: bool
    """True: a repository that contains images cannot be deleted. False: deleting it deletes its images."""
    account: Account
    """AWS account of the repositories."""


class ImageRegistry(pulumi.ComponentResource):
    """Private repository for each image, with immutable tags; every pushed image is scanned."""

    urls: Mapping[str, pulumi.Output[str]]
    """Repository URL of each image."""

    def __init__(self, name: str, args: ImageRegistryArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mlops:aws:ImageRegistry", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        key = EncryptionKey(
            name,
            EncryptionKeyArgs(
                description=f"Images of {args.prefix}",
                alias=f"{args.prefix}-images",
                account=args.account,
                protected=args.protected,
            ),
            child,
        )
        urls: dict[str, pulumi.Output[str]] = {}
        for image in args.images:
            label = f"{name}-{image}"
            repository = aws.ecr.Repository(
                label,
                name=f"{args.prefix}/{image}",
                image_tag_mutability="IMMUTABLE",
                image_scanning_configuration={"scan_on_push": True},
                encryption_configurations=[{"encryption_type": "KMS", "kms_key": key.arn}],
                force_delete=not args.protected,
                opts=child,
            )
            aws.ecr.LifecyclePolicy(label, repository=repository.name, policy=keep_newest(args.keep), opts=child)
            aws.ecr.RepositoryPolicy(
                label,
                repository=repository.name,
                policy=pulled_by(args.puller_role_arns, account=args.account),
                opts=child,
            )
            urls[image] = repository.repository_url
        self.urls = urls
        self.register_outputs({"urls": urls})


def keep_newest(count: int) -> pulumi.Output[str]:
    """Return the lifecycle policy that keeps the newest `count` images."""
    return pulumi.Output.json_dumps(
        {
            "rules": [
                {
                    "rulePriority": 1,
                    "description": f"the newest {count} stay",
                    "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": count},
                    "action": {"type": "expire"},
                }
            ]
        }
    )
