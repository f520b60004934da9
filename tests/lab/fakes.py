"""Programs that are not run: each command is written down, and answered by the first rule that knows it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lab.errors import LabError

Answer = str | LabError | Callable[[Sequence[str]], str]


@dataclass
class FakeCommands:
    """`answers` maps a part of a command line to what it prints, or to the error it ends with."""

    answers: dict[str, Answer] = field(default_factory=dict[str, Answer])
    ran: list[str] = field(default_factory=list[str])

    def answer(self, command: Sequence[str], **_: object) -> str:
        line = " ".join(command)
        self.ran.append(line)
        said = next((said for part, said in self.answers.items() if part in line), "")
        if isinstance(said, LabError):
            raise said
        return said if isinstance(said, str) else said(command)

    def watch(self, command: Sequence[str], *, log: Path, **_: object) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(self.answer(command))

    def stop(self) -> None:
        self.ran.append("stop")

    def with_part(self, part: str) -> list[str]:
        return [line for line in self.ran if part in line]
