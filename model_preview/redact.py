"""Hides text that looks like a credential, because nothing else masks it in a comment of a pull request."""

import re
import unicodedata
from collections.abc import Mapping

HIDDEN = "(hidden)"
_SECRET_NAME = re.compile(
    r"(^|[_.-])(pass(word|wd|phrase)?|secret|token|credentials?|(api|access|private|secret|signing)[_-]?key)s?$",
    re.IGNORECASE,
)
_ASSIGNED = re.compile(
    r"(?i)\b((?:[\w-]*[_-])?(?:password|passwd|secret|token|api[_-]?key|access[_-]?key(?:[_-]id)?)[\"']?\s*[=:]\s*)[^\s,;]+"
)
_USERINFO = re.compile(r"(?<=://)[^/\s]+(?=@)")
_KNOWN = re.compile(
    r"""
    -----BEGIN[ A-Z]*PRIVATE\ KEY-----.*?(?:-----END[ A-Z]*PRIVATE\ KEY-----|$)
    | \b(?:AKIA|ASIA)[A-Z0-9]{16}\b                      # AWS access key
    | \b(?:gh[opsur]_|github_pat_)[A-Za-z0-9_]{20,}      # GitHub
    | \bglpat-[A-Za-z0-9_-]{16,}                         # GitLab
    | \bxox[abprs]-[A-Za-z0-9-]{10,}                     # Slack
    | \bsk-[A-Za-z0-9_-]{20,}                            # model providers
    | \bpul-[0-9a-f]{32,}                                # Pulumi
    | \bAIza[A-Za-z0-9_-]{30,}                           # Google
    | \bdapi[0-9a-f]{32}                                 # Databricks
    | \bhf_[A-Za-z0-9]{20,}                              # Hugging Face
    | (?<=\bBearer\ )[A-Za-z0-9._~+/=-]{16,}             # HTTP header
    | \beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*  # JSON web token
    | (?<![A-Za-z0-9/+=])(?=[^\s]{0,39}[A-Z])(?=[^\s]{0,39}[a-z])(?=[^\s]{0,39}[0-9])[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+=])
    """,
    re.VERBOSE | re.DOTALL,
)


def redact(text: str) -> str:
    """Return the text with `(hidden)` in place of everything that looks like a password, a key or a token."""
    return _KNOWN.sub(HIDDEN, _ASSIGNED.sub(rf"\g<1>{HIDDEN}", _USERINFO.sub(HIDDEN, text)))


def plain(text: str) -> str:
    """Return the text on one line, without credentials, and without control characters and invisible characters."""
    kept = (c for c in redact(text) if c.isspace() or unicodedata.category(c) not in {"Cc", "Cf", "Cs", "Co"})
    return " ".join("".join(kept).split())


def redact_values(values: Mapping[str, str]) -> dict[str, str]:
    """Return the values with `(hidden)` for each one whose name or form is that of a credential."""
    return {name: HIDDEN if _SECRET_NAME.search(name) else redact(value) for name, value in values.items()}
