"""Evidence of a validation: a report counts if only a validation can have written it, and if it is about this version.

Validations write below `validations/` of the artifact store's bucket, with rights that nothing else in the platform has
(ADR 0028). Tags name a report and repeat its result for people; others can write them, so no decision reads the result
from a tag. A version that does not lie in S3, as on a laptop, needs no report.
"""

from contract.names import VALIDATION_REPORTS
from contract.stages import NO_CHAMPION, PASSED

REPORT = "report.json"
"""File of a validation with its result, beside the page for people."""


def is_needed(status: str, source: str) -> bool:
    """Return whether a version with this tag `validation_status` counts as validated only with a report.

    Args:
        status: value of the tag; any but `passed` needs no proof.
        source: URI of the version's files; empty if it is unknown.
    """
    return status == PASSED and (not source or source.startswith("s3://"))


def fault_of_place(folder: str, source: str) -> str:
    """Return why a report in this folder proves nothing about a version; empty if only a validation writes there.

    Args:
        folder: URI of the artifacts of the report's run.
        source: URI of the version's files, whose bucket is the artifact store's.
    """
    bucket = source.removeprefix("s3://").partition("/")[0]
    own = f"s3://{bucket}/{VALIDATION_REPORTS}/"
    # An S3 server on a file system may resolve `..`.
    if folder.startswith(own) and not {"", ".", ".."} & set(folder.removeprefix(own).split("/")):
        return ""
    return f"its report is in {folder or 'an unknown folder'}, and validations alone write only in {own}"


def fault_of_content(reported: tuple[str, int, str], model: str, version: int, digest: str) -> str:
    """Return why a report proves nothing about the version; empty if it is about this version and these files.

    Args:
        reported: model, version and digest of the files in the report.
        model: name of the registered model.
        version: number of the version.
        digest: digest of the version's files; empty if it has no such tag.
    """
    if reported[:2] != (model, version):
        return f"the report is about {reported[0]} version {reported[1]}"
    if not digest or reported[2] != digest:
        return (
            f"the report is about files with the digest {reported[2][:12] or 'unknown'}, not {digest[:12] or 'unknown'}"
        )
    return ""


def champion_tag(number: int | None) -> str:
    """Return the number of a champion as tags have it."""
    return str(number or NO_CHAMPION)
