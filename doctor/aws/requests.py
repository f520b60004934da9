"""Requests to AWS that only read."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

import boto3
from botocore import exceptions
from botocore.config import Config

from doctor.findings import UncheckedError

READS = ("batch_get_", "describe_", "get_", "head_", "list_")
"""Beginnings of the names of operations that change nothing; other operations are refused."""
HOME: Mapping[str, str] = {"aws": "us-east-1", "aws-cn": "cn-north-1", "aws-us-gov": "us-gov-west-1"}
"""Region of STS and IAM requests in each partition; it is enabled in every account."""
GLOBAL = frozenset({"iam", "sts"})
DENIED = frozenset({"403", "AccessDenied", "AccessDeniedException", "AuthorizationError", "UnauthorizedOperation"})
ABSENT = frozenset(
    {
        *("404", "DBSnapshotNotFound", "DBInstanceNotFound", "DBInstanceNotFoundFault", "DBSnapshotNotFoundFault"),
        *(
            "ImageNotFoundException",
            "InvalidSubnetID.NotFound",
            "InvalidVpcID.NotFound",
            "NoSuchBucket",
            "NoSuchEntity",
        ),
        *("RepositoryNotFoundException", "ResourceNotFoundException"),
    }
)
INVALID_CREDENTIALS = frozenset(
    {
        *("AuthFailure", "ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "InvalidToken"),
        *("RequestExpired", "SignatureDoesNotMatch", "UnrecognizedClientException"),
    }
)
NO_CREDENTIALS = (
    exceptions.NoCredentialsError,
    exceptions.PartialCredentialsError,
    exceptions.CredentialRetrievalError,
    exceptions.ProfileNotFound,
    exceptions.SSOError,
    exceptions.TokenRetrievalError,
)
NO_RESPONSE = (exceptions.HTTPClientError, exceptions.ConnectionError)
PATIENCE = Config(connect_timeout=5, read_timeout=15, retries={"total_max_attempts": 3, "mode": "standard"})
ACTIONS = {"HeadBucket": "ListBucket", "HeadObject": "GetObject", "ListBuckets": "ListAllMyBuckets"}
"""IAM action of each operation that has another name."""
Answer = Mapping[str, Any]
"""Response of AWS, as boto3 decodes it."""


class CredentialsError(UncheckedError):
    """There are no credentials, or AWS does not accept them."""


class AwsError(UncheckedError):
    """AWS responded with an error."""

    def __init__(self, operation: str, code: str, message: str) -> None:
        super().__init__(f"AWS responded to {operation} with {code}: {message}", "run mlops doctor again")
        self.code = code


class DeniedError(AwsError):
    """The credentials lack a permission. `str` names it."""

    def __init__(self, operation: str, code: str, permission: str) -> None:
        super().__init__(operation, code, "")
        self.args = (f"it needs the permission {permission}",)
        self.mend = f"allow {permission} to the role, or run mlops doctor with another AWS_PROFILE"


class AbsentError(AwsError):
    """The resource does not exist."""


@dataclass(frozen=True, kw_only=True)
class Aws:
    """Requests to one region with the credentials of a session. Its methods can be called from several threads."""

    session: Any
    """boto3's session."""
    region: str
    """Name of the region."""
    _clients: dict[tuple[str, str], Any] = field(default_factory=dict[tuple[str, str], Any])
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def partition(self) -> str:
        """Second field of the region's ARNs, such as `aws`."""
        return str(self.session.get_partition_for_region(self.region)) if self.region else "aws"

    def ask(self, service: str, operation: str, **request: object) -> Answer:
        """Make a request and return the response; the pages of a long response are joined.

        Raises:
            CredentialsError: there are no credentials, or AWS does not accept them.
            DeniedError: the credentials lack a permission.
            AbsentError: the resource does not exist.
            AwsError: AWS responded with another error.
            UncheckedError: AWS did not respond.
        """
        if not operation.startswith(READS):
            raise ValueError(f"{service} {operation} is not a request that only reads")
        name = f"{service} {operation.replace('_', '-')}"
        try:
            client: Any = self._client(service)
            if client.can_paginate(operation):
                return client.get_paginator(operation).paginate(**request).build_full_result()
            return getattr(client, operation)(**request)
        except NO_CREDENTIALS as error:
            raise CredentialsError(str(error), "run aws sso login, or set AWS_PROFILE") from error
        except NO_RESPONSE as error:
            raise UncheckedError(
                f"AWS did not respond to {name}: {error}", "look at the network, and at HTTPS_PROXY"
            ) from error
        except exceptions.ClientError as error:
            failed = cast("Any", error)
            raise _error(service, name, str(failed.operation_name), failed.response["Error"]) from error

    def at(self, region: str) -> Aws:
        """Return access to another region with the same credentials."""
        return replace(self, region=region)

    def _client(self, service: str) -> object:
        region = HOME[self.partition] if service in GLOBAL else self.region
        with self._lock:  # a session cannot create two clients at the same time
            if (service, region) not in self._clients:
                self._clients[service, region] = self.session.client(service, region_name=region, config=PATIENCE)
            return self._clients[service, region]


def connect(region: str) -> Aws:
    """Return access to a region with the credentials of the environment.

    CredentialsError if the environment names a profile that does not exist.
    """
    try:
        return Aws(session=cast("Any", boto3).session.Session(region_name=region or None), region=region)
    except exceptions.ProfileNotFound as error:
        raise CredentialsError(
            str(error), "run aws configure list-profiles, and set AWS_PROFILE to one of them"
        ) from error


def _error(service: str, name: str, operation: str, detail: Answer) -> UncheckedError:
    code, message = str(detail["Code"]), str(detail.get("Message", ""))
    if code in DENIED:
        return DeniedError(name, code, _permission(service, operation, message))
    if code in INVALID_CREDENTIALS:
        return CredentialsError(f"AWS responded {code}: {message}", "run aws sso login, or set AWS_PROFILE")
    return (AbsentError if code in ABSENT else AwsError)(name, code, message)


def _permission(service: str, operation: str, message: str) -> str:
    """Return the IAM action that is missing: AWS's message names it, as in `not authorized to perform: x:Y`."""
    named = message.partition("perform: ")[2].split(" ")[0]
    if ":" in named:
        return named
    return f"{service.replace('-', '')}:{ACTIONS.get(operation, operation)}"
