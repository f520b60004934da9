"""Fake programs: each command line is recorded, and its output comes from the first matching rule."""

from collections.abc import Callable, Sequence
from pathlib import Path

from typing_extensions import override

from images.commands import Commands
from images.errors import ProgramError

Answer = str | ProgramError | Callable[[Sequence[str]], str]


class FakeCommands(Commands):
    """Fake of `Commands`. `answers` maps a part of a command line to its output or its error."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: dict[str, Answer] = {}
        self.ran: list[str] = []

    @override
    def output(self, command: Sequence[str], **_: object) -> str:
        line = " ".join(command)
        self.ran.append(line)
        said = next((said for part, said in self.answers.items() if part in line), "")
        if isinstance(said, ProgramError):
            raise said
        return said if isinstance(said, str) else said(command)

    @override
    def watch(self, command: Sequence[str], *, log: Path, **_: object) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(self.output(command))

    @override
    def stop(self) -> None:
        self.ran.append("stop")

    def with_part(self, part: str) -> list[str]:
        return [line for line in self.ran if part in line]
