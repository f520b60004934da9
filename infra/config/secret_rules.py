"""Rules for the values of a stack's secrets, which no message ever shows."""

import re
from dataclasses import dataclass

from infra.config.rules import Rule


@dataclass(frozen=True, kw_only=True, slots=True)
class SecretRule:
    """Rule for a secret."""

    pattern: str
    """Regular expression that the whole value must match."""
    must: str
    """Description of the allowed values."""
    because: str
    """Reason for the rule."""

    def holds(self, value: str) -> bool:
        """Return whether the value is allowed."""
        return re.fullmatch(self.pattern, value) is not None

    def rule(self, instead: str) -> Rule:
        """Return the error message for a value that is not allowed."""
        return Rule(must=self.must, because=self.because, instead=instead)


# RDS refuses / @ " and spaces, and fewer than 8 characters; a long password is no problem: people do not type it.
PASSWORD = SecretRule(
    pattern=r"[!#-.0-?A-~]{16,128}",
    must='must be 16 to 128 printable ASCII characters without space, /, @ and "',
    because="managed databases refuse other characters, and a weak password can be guessed",
)
ACCESS_KEY = SecretRule(
    pattern=r"[A-Za-z0-9]{8,128}",
    must="must be 8 to 128 letters and digits",
    because="S3 clients send it in a header without encoding",
)
SECRET_KEY = SecretRule(
    pattern=r"[A-Za-z0-9+/_=-]{16,128}",
    must="must be 16 to 128 letters, digits and + / _ = -",
    because="anyone who guesses it can change every model",
)
PLAIN = SecretRule(
    pattern="", must="must be encrypted", because="everyone who can read the repository knows the value now"
)
NO_SECRET = SecretRule(
    pattern="", must="must not hold a secret", because="Jobs, Pods and the registry show this value to everyone"
)
