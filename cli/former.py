"""Make targets and programs (`runs`, `client`, `train`) of former releases, kept for one release.

Each prints the new command on stderr and runs it.
"""

import os
import shlex
import sys
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path

from cli import main as mlops
from contract.exit_codes import ExitCode

GIVEN = "MAKE_GIVEN"
"""Environment variable with the names of the variables on make's command line; make exports their values."""


@dataclass(frozen=True, kw_only=True)
class Successor:
    """Command that replaces a make target."""

    command: Sequence[str]
    positional: Sequence[str] = ()
    """Variables whose values become arguments, in their order."""
    options: Mapping[str, str] = field(default_factory=dict[str, str])
    """Variables whose values become options, with the names of the options."""

    def words(self, given: Mapping[str, str]) -> list[str]:
        """Return the new command line for the given variables."""
        # An argument after a missing one would take its place.
        positional = list(takewhile(bool, (given.get(name, "") for name in self.positional)))
        return [
            *self.command,
            *positional,
            *(f"{word}={given[name]}" for name, word in self.options.items() if given.get(name)),
        ]


CONTEXT = {"CONTEXT": "--context"}
TARGETS: Mapping[str, Successor] = {
    "status": Successor(command=["lab", "status"]),
    "follow": Successor(command=["follow"], positional=["RUN"], options=CONTEXT),
    "runs": Successor(command=["runs"], options={"NAME": "--name", "LAST": "--last"} | CONTEXT),
    "predict": Successor(
        command=["predict"],
        positional=["MODEL", "FILE"],
        options={"OUT": "--out", "KEEP": "--keep", "URL": "--url"} | CONTEXT,
    ),
    "client": Successor(command=["client"], positional=["MODEL"], options={"URL": "--url"} | CONTEXT),
    "validate": Successor(command=["validate"], positional=["MODEL", "VERSION"], options=CONTEXT),
    "promote": Successor(command=["promote"], positional=["MODEL", "VERSION", "STAGE"], options={"WHY": "--why"}),
    "rollback": Successor(command=["rollback"], positional=["MODEL"]),
    "reproduce": Successor(command=["reproduce"], positional=["MODEL", "VERSION"], options={"DATASET": "--dataset"}),
    "models": Successor(command=["models"], positional=["MODEL"]),
}


def target(name: str) -> int:
    """Run the command that replaces `make NAME`, and return the exit code."""
    given = {word: os.environ.get(word, "") for word in os.environ.get(GIVEN, "").split()}
    words = _train(given) if name == "train" else TARGETS[name].words(given)
    return _successor(f"make {name}", words)


def _train(given: dict[str, str]) -> list[str]:
    """Return the command line of `mlops train`. Each variable that the target does not use itself is a parameter."""
    name, context = given.pop("NAME", ""), given.pop("CONTEXT", "")
    dry_run, validate = given.pop("DRY_RUN", ""), given.pop("VALIDATE", "")
    if validate not in {"", "0", "1"}:
        print(f"VALIDATE={validate}: must be 0 or 1; write VALIDATE=0 to skip the validation", file=sys.stderr)
        sys.exit(ExitCode.BAD_INPUT)
    options = [
        *([f"--context={context}"] if context else []),
        *(["--dry-run"] if dry_run else []),
        *(["--no-validate"] if validate == "0" else []),
    ]
    return ["train", *([name] if name else []), *(f"{word}={value}" for word, value in given.items()), *options]


def runs() -> None:
    """Entry point of the former program `runs`."""
    _use_kubeconfig()
    words = sys.argv[1:]
    sys.exit(_successor(shlex.join(["runs", *words]), ["runs", *words[1:]] if words[:1] == ["list"] else words))


def client() -> None:
    """Entry point of the former program `client`, whose `predict` had the result as third argument."""
    _use_kubeconfig()
    parser = ArgumentParser(prog="client", allow_abbrev=False)
    parser.add_argument("command", choices=["predict", "generate"])
    parser.add_argument("model")
    parser.add_argument("file", nargs="?")
    parser.add_argument("out", nargs="?")
    for option in ("--url", "--context", "--keep", "--rows", "--in-flight", "--patience"):
        parser.add_argument(option)
    given = vars(parser.parse_intermixed_args())
    command, model, file = given.pop("command"), given.pop("model"), given.pop("file")
    options = [f"--{name.replace('_', '-')}={value}" for name, value in given.items() if value is not None]
    words = ["client" if command == "generate" else "predict", model, *([file] if file else []), *options]
    sys.exit(_successor(f"client {command}", words))


def train() -> None:
    """Entry point of the former program `train`, for training on this machine."""
    words = [
        f"--tracking-uri{word.removeprefix('--mlflow')}" if word.startswith("--mlflow") else word
        for word in sys.argv[1:]
    ]
    sys.exit(_successor("train", ["train", *words]))


def _use_kubeconfig() -> None:
    """Use kubectl's default kubeconfig instead of the lab's, as the former programs did."""
    os.environ.setdefault("KUBECONFIG", str(Path.home() / ".kube" / "config"))


def _successor(former: str, words: Sequence[str]) -> int:
    new = shlex.join(["mlops", *words])
    print(f"`{former}` is now `{new}`; the next release removes the old name", file=sys.stderr)
    return mlops.start(words)


if __name__ == "__main__":
    sys.exit(target(sys.argv[1]))
