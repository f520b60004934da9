"""Settings of the bootstrap's stack file, and the only reader of its configuration."""

import json
from typing import Annotated, Literal

from pulumi.runtime.config import CONFIG
from pydantic import AfterValidator, Field, StringConstraints, ValidationError, ValidationInfo, field_validator

from infra.config import aws_rules, problems
from infra.config.aws import at_least
from infra.config.problems import PREFIX
from infra.config.rules import Rule
from infra.config.section import Model

StateBucket = Annotated[
    str,
    StringConstraints(pattern=aws_rules.BUCKET_NAME),
    AfterValidator(aws_rules.not_reserved),
    Rule(
        must="must be 3 to 63 characters of a-z, 0-9 and -, with a letter or digit at both ends and no reserved prefix",
        because="S3 refuses other names, and every stack's `pulumi login` names the bucket",
        instead="write a name that is unique in all of AWS, as in acme-pulumi-state",
    ),
]
Repository = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9](-?[A-Za-z0-9]){0,38}/[A-Za-z0-9._-]{1,100}$"),
    Rule(
        must="must be a repository on GitHub as OWNER/NAME",
        because="only its workflows can take the roles, and AWS compares the name letter by letter",
        instead="write the output of `gh repo view --json nameWithOwner`, as in repository: acme/mlops",
    ),
]
GitHubId = Annotated[
    int,
    Field(strict=True, ge=1),
    Rule(
        must="must be a whole number of at least 1, without quotes",
        because="GitHub's tokens name owner and repository with these ids, which no later owner of a name can get",
        instead="write the output of `gh api repos/OWNER/NAME --jq '.owner.id, .id'`: owner_id, then repository_id",
    ),
]
Subject = Annotated[
    Literal["ids", "names"],
    Rule(
        must="must be ids or names",
        because="GitHub sends the subject of a token in one of these two forms",
        instead="write subjects: [ids], or [ids, names] while an older repository still sends names only",
    ),
]
Environment = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,254}$"),
    Rule(
        must="must be the name of an environment: letters, digits, and . _ - after the first character",
        because="the subject of a token ends with it, and GitHub encodes other characters there",
        instead="write the name of one environment of the repository, as in prod; a pattern is not possible",
    ),
]
Provider = Annotated[
    Literal["new", "existing"],
    Rule(
        must="must be new or existing",
        because="an account can have one OIDC provider for GitHub",
        instead="write existing if `aws iam list-open-id-connect-providers` lists token.actions.githubusercontent.com",
    ),
]
StackName = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"),
    Rule(
        must="must be the name of a stack: a-z, 0-9 and -, with a letter or digit at both ends",
        because="the names of the stack's cluster, image repositories and keys contain it",
        instead="write what is between `Pulumi.` and `.yaml`, as in prod",
    ),
]
SOME_ENVIRONMENTS = Rule(
    must="must be a list of one environment or more",
    because="without an environment, no workflow can take the role",
    instead="list environments of the repository, as in [prod]",
)
SOME_SUBJECTS = Rule(
    must="must be a list of ids, names or both",
    because="without a form of the subject, no workflow can take a role",
    instead="write subjects: [ids]",
)


class Environments(Model):
    """GitHub environments whose jobs can take the roles."""

    deploy: Annotated[tuple[Environment, ...], AfterValidator(at_least(1)), SOME_ENVIRONMENTS]
    """Environments whose jobs can take the role that deploys; protect them with reviewers. Example: [prod]"""
    preview: Annotated[tuple[Environment, ...], AfterValidator(at_least(1)), SOME_ENVIRONMENTS]
    """Environments whose jobs can take the role that reads. Example: [prod-preview]"""

    @field_validator("preview")
    @classmethod
    def _apart_from_deploy(cls, names: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if both := sorted(set(names) & set(info.data.get("deploy", ()))):
            raise Rule(
                must="must not name an environment of deploy",
                because="every job that previews in it could deploy too",
                instead="create another environment for previews, as in prod-preview",
            ).broken(", ".join(both))
        return names


class GitHub(Model):
    """Repository on GitHub whose workflows deploy."""

    repository: Repository
    """Owner and name of the repository. Example: acme/mlops"""
    owner_id: GitHubId
    """Id of the repository's owner. Example: 123456"""
    repository_id: GitHubId
    """Id of the repository. Example: 456789"""
    subjects: Annotated[tuple[Subject, ...], AfterValidator(at_least(1)), SOME_SUBJECTS] = ("ids",)
    """Accepted forms of the token's subject: with ids (repositories made or renamed since 2026-07-15, and those that
    opted in) or with names only. Example: [ids]
    """
    environments: Environments
    """Environments that can take each role."""
    provider: Provider = "new"
    """Source of GitHub's OIDC provider: `new` creates it, `existing` uses the account's. Example: existing"""

    def subjects_of(self, environment: str) -> list[str]:
        """Return the subjects of the tokens that jobs in an environment get."""
        owner, name = self.repository.split("/")
        forms = {"ids": f"{owner}@{self.owner_id}/{name}@{self.repository_id}", "names": self.repository}
        return [f"repo:{forms[form]}:environment:{environment}" for form in self.subjects]


class Training(Model):
    """Role that builds the training image of one stack of this account and region, and starts runs in its cluster."""

    environments: Annotated[tuple[Environment, ...], AfterValidator(at_least(1)), SOME_ENVIRONMENTS]
    """Environments whose jobs can take the role. Example: [dev]"""
    stack: StackName
    """Stack of the project `mlops`. Example: dev"""


class Registry(Model):
    """Registry of one stack, whose models are in a bucket of this account and region."""

    stack: StackName
    """Stack of the project `mlops`. Example: prod"""
    bucket: aws_rules.BucketName
    """Bucket of the stack, mlops:foundation.artifacts.bucket. Example: example-mlops-prod"""


class Copies(Model):
    """Role that copies models from one stack's registry to another's."""

    environments: Annotated[tuple[Environment, ...], AfterValidator(at_least(1)), SOME_ENVIRONMENTS]
    """Environments whose jobs can take the role. Example: [prod-propose]"""
    source: Registry
    """Registry whose models are read. Example: {stack: dev, bucket: example-mlops-dev}"""
    target: Registry
    """Registry into which models are written. Example: {stack: prod, bucket: example-mlops-prod}"""


class Settings(Model):
    """The keys of a stack file of the bootstrap below `config`, without their prefix `mlops:`."""

    account_id: aws_rules.AccountId
    """Number of the AWS account; credentials of another account are refused. Example: "123456789012" """
    state_bucket: StateBucket
    """Name of the bucket for the state of all stacks in the account. Example: acme-pulumi-state"""
    github: GitHub
    """Repository whose workflows can take the roles."""
    training: Training | None = None
    """Role that builds a training image and starts runs; without this key, there is none."""
    copies: Copies | None = None
    """Role that copies models between registries; without this key, there is none."""

    @field_validator("training", "copies")
    @classmethod
    def _apart_from_other_roles(
        cls, chosen: Training | Copies | None, info: ValidationInfo
    ) -> Training | Copies | None:
        github: GitHub | None = info.data.get("github")
        training: Training | None = info.data.get("training")
        taken = {*github.environments.deploy, *github.environments.preview} if github else set[str]()
        taken |= set(training.environments) if training else set()
        if chosen and (both := sorted(taken & set(chosen.environments))):
            raise Rule(
                must="must not name an environment of another role",
                because="every job in it could take both roles",
                instead="create another environment, as in environments: [prod-propose]",
            ).broken(", ".join(both))
        return chosen


def read() -> Settings:
    """Return the settings of the current stack.

    Raises:
        pulumi.RunError: the stack file has problems; the message lists all of them, one on each line.
    """
    written = {key.removeprefix(PREFIX): text for key, text in CONFIG.get().items() if key.startswith(PREFIX)}
    # Pulumi passes mappings as JSON, and numbers and texts without a difference.
    values = {key: json.loads(text) if text.startswith("{") else text for key, text in written.items()}
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise problems.refusal(problems.of(error, Settings)) from None
