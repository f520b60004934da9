"""Fake `pulumi` that prints what a test says, and records its command lines."""

import json
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from doctor.engine import Engine

DOUBLE = """
import json, pathlib, sys
words = [word for word in sys.argv[1:] if not word.startswith("--")]
here = pathlib.Path(__file__).parent
with (here / "asked").open("a") as asked:
    asked.write(" ".join(words) + "\\n")
answer = json.loads((here / "answers.json").read_text())[" ".join(words)]
if isinstance(answer, str) and answer.startswith("error"):
    sys.exit(answer)
print(answer if isinstance(answer, str) else json.dumps(answer))
"""


@dataclass
class Pulumi:
    """Fake `pulumi` that prints what a test says, and records its command lines."""

    folder: Path
    answers: dict[str, Any]
    environment: dict[str, str]

    def write(self) -> None:
        """Let the program give the answers."""
        (self.folder / "bin" / "answers.json").write_text(json.dumps(self.answers))

    @property
    def engine(self) -> Engine:
        self.write()
        return Engine(folder=self.folder, environment={"PATH": str(self.folder / "bin"), **self.environment})


@pytest.fixture
def pulumi(tmp_path: Path) -> Pulumi:
    program = tmp_path / "bin" / "pulumi"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f"#!{sys.executable}\n{DOUBLE}")
    program.chmod(0o755)
    installed = [{"name": name, "version": version(f"pulumi-{name}")} for name in ("aws", "kubernetes")]
    answers: dict[str, Any] = {
        "version": f"v{version('pulumi')}",
        "plugin ls": installed,
        "whoami": {"user": "me", "url": "s3://state"},
        "stack ls": [{"name": "prod", "resourceCount": 174, "lastUpdate": "2026-11-30T12:00:00Z"}],
    }
    return Pulumi(folder=tmp_path, answers=answers, environment={})
