"""What a stack's secrets must look like. A value is looked at here once and shown nowhere."""

import re
from dataclasses import dataclass

from infra.config.rules import Rule


@dataclass(frozen=True, kw_only=True, slots=True)
class SecretRule:
    """The whole value matches `pattern`."""

    pattern: str
    must: str
    because: str

    def holds(self, value: str) -> bool:
        """Whether the value obeys."""
        return re.fullmatch(self.pattern, value) is not None

    def rule(self, instead: str) -> Rule:
        """The same in words, with a way out."""
        return Rule(must=self.must, because=self.because, instead=instead)


# RDS refuses / @ " and spaces, and fewer than 8 characters. Nobody types it, so a longer one costs nothing.
PASSWORD = SecretRule(
    pattern=r"[!#-.0-?A-~]{16,128}",
    must='must be 16 to 128 printable ASCII characters without space, /, @ and "',
    because="managed databases refuse the others, and a guess must not succeed",
)
ACCESS_KEY = SecretRule(
    pattern=r"[A-Za-z0-9]{8,128}",
    must="must be 8 to 128 letters and digits",
    because="S3 clients send it in a header without encoding",
)
SECRET_KEY = SecretRule(
    pattern=r"[A-Za-z0-9+/_=-]{16,128}",
    must="must be 16 to 128 letters, digits and + / _ = -",
    because="somebody who guesses it can change every model",
)
PLAIN = SecretRule(pattern="", must="must be encrypted", because="everybody who can read the repository knows it now")
NO_SECRET = SecretRule(
    pattern="", must="must not hold a secret", because="what stands here appears in Jobs, Pods and the registry for all"
)
