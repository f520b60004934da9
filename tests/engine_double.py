"""A `pulumi` that answers with a file, for commands that run a preview."""

import os
from pathlib import Path

import pytest


@pytest.fixture
def pulumi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `pulumi` that prints the file `preview` beside it, writes down its arguments, and ends with `code`.

    The file `said` is printed to stderr, and `models` is copied to where a program writes its report about models.
    """
    program = tmp_path / "pulumi"
    program.write_text(
        '#!/bin/sh\ncd "${0%/*}"; echo "$@" > asked\n'
        'if [ -f models ] && [ -n "$MLOPS_MODEL_REPORT" ]; then cat models > "$MLOPS_MODEL_REPORT"; fi\n'
        "if [ -f said ]; then cat said >&2; fi\n"
        'cat preview; exit "$(cat code)"\n'
    )
    program.chmod(0o755)
    (tmp_path / "code").write_text("0")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path
