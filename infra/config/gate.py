"""Settings of the gate that decides whether a model version may go live."""

from typing import Annotated, Literal

from pydantic import StringConstraints

from infra.config.rules import Rule
from infra.config.section import Model

Mode = Annotated[
    Literal["warn", "fail"],
    Rule(
        must="must be warn or fail",
        because="it decides about a version that was not validated or could not be verified",
        instead="write mode: fail to refuse such a version, or leave the key out",
    ),
]
DigestMode = Annotated[
    Literal["optional", "required"],
    Rule(
        must="must be optional or required",
        because="it decides whether each endpoint must state the digest of its version",
        instead="write digest: required, or leave the key out",
    ),
]
Digest = Annotated[
    str,
    StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$"),
    Rule(
        must="must be sha256: and 64 hexadecimal digits",
        because="it is compared with the SHA-256 of the version's files",
        instead="write the tag model_digest of the version, which `mlops release` adds, or leave the key out",
    ),
]
Reason = Annotated[
    str,
    StringConstraints(strip_whitespace=True, pattern=r"^[^\x00-\x1f\x7f]+$", min_length=10, max_length=300),
    Rule(
        must="must be a reason: one line of 10 to 300 characters",
        because="reviewers and the registry read it",
        instead='write it as in override: "INC-123: version 7 drops every second request"',
    ),
]
DIGEST_REQUIRED = Rule(
    must="must be stated",
    because="mlops:gate.digest is required",
    instead="write the digest of the version's files beside its number; `mlops release` does it",
)


class Gate(Model):
    """Gate in front of each release; docs/model-preview.md lists its rules."""

    mode: Mode | None = None
    """Treatment of a version that was not validated, was validated against an older champion, is archived, or whose
    packages, signature or facts are not known: `warn` or `fail`. Default: `fail` if a part of the foundation is
    `protected`, otherwise `warn`.
    Example: fail
    """
    digest: DigestMode = "optional"
    """Whether each endpoint must state the digest of its version. Example: required"""
