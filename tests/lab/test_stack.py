"""Pulumi.local.yaml with the real engine: the keys that the lab writes, and the user's keys, which it keeps."""

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lab import paths, recovery
from lab.engine import engine_environment
from lab.errors import LabError
from lab.stack import SECRETS, Stack

pytestmark = [pytest.mark.engine, pytest.mark.long]
ROOT = Path(__file__).parent.parent.parent
IMAGES = {"images.training": "lab.local/training:1", "foundation.images.postgres": "lab.local/postgres:2"}
MakeStack = Callable[[str], Stack]


@pytest.fixture
def make_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeStack:
    """Return a function that creates a clone with an empty program; all clones use one lab."""
    monkeypatch.setenv("LAB_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("PULUMI_CONFIG_PASSPHRASE", raising=False)

    def make(clone: str) -> Stack:
        checkout = tmp_path / clone
        if not checkout.exists():
            (checkout / "lab").mkdir(parents=True)
            (checkout / "infra").mkdir()
            (checkout / "infra" / "__main__.py").touch()
            shutil.copy(ROOT / "Pulumi.yaml", checkout)
            shutil.copy(ROOT / "lab" / "Pulumi.local.yaml", checkout / "lab")
        for name, value in engine_environment().items():
            monkeypatch.setenv(name, value)
        return Stack(checkout=checkout)

    return make


def prepared(stack: Stack) -> Stack:
    stack.prepare()
    stack.set(IMAGES)
    return stack


def deploy(stack: Stack, line: Callable[[str], None] = print) -> str:
    return stack.up(exclude=[], replace=[], log=paths.logs() / "up.log", line=line)


def secrets(stack: Stack) -> dict[str, str]:
    return {name: str(stack.config()[name]) for name in SECRETS}


def test_a_new_lab_gets_the_template_with_images_and_secrets(make_stack: MakeStack) -> None:
    stack = prepared(make_stack("one"))
    config, text = stack.config(), stack.file.read_text()
    assert config["images"] == {"training": "lab.local/training:1"}
    assert config["foundation"]["images"] == {"postgres": "lab.local/postgres:2"}
    assert "# set by `lab up`" in text
    for value in secrets(stack).values():
        assert len(value) >= 16
        assert value not in text
    assert paths.secrets().stat().st_mode & 0o777 == 0o600


def test_no_secret_is_on_a_command_line(make_stack: MakeStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stack, engine = make_stack("one"), shutil.which("pulumi")
    listening = tmp_path / "listening" / "pulumi"
    listening.parent.mkdir()
    listening.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/said\nexec {engine} "$@"\n')
    listening.chmod(0o755)
    monkeypatch.setenv("PATH", str(listening.parent), prepend=":")
    prepared(stack)
    said = (tmp_path / "said").read_text()
    assert "database_password" in said
    assert not [value for value in secrets(stack).values() if value in said]


def test_the_engine_keeps_one_file_for_a_stack_so_that_killing_it_leaves_nothing_half_written(
    make_stack: MakeStack,
) -> None:
    prepared(make_stack("one"))
    assert {file.suffix for file in paths.pulumi_backend().rglob("local.json*")} <= {".json", ".bak"}


def test_a_second_time_nothing_in_the_file_changes(make_stack: MakeStack) -> None:
    before = prepared(make_stack("one")).file.read_text()
    assert prepared(make_stack("one")).file.read_text() == before


def test_what_the_owner_wrote_stays_when_an_image_changes(make_stack: MakeStack) -> None:
    stack = prepared(make_stack("one"))
    edited = (
        stack.file.read_text()
        .replace("n_estimators: 100", "n_estimators: 7")
        .replace("kind: local", "kind: local # mine")
    )
    stack.file.write_text(edited)
    stack.prepare()
    stack.set({"images.training": "lab.local/training:2"})
    assert stack.config()["training"]["churn"]["parameters"]["n_estimators"] == 7
    assert stack.file.read_text() == edited.replace("training:1", "training:2")


def test_a_second_clone_gets_the_same_secrets_and_what_was_deployed_last(make_stack: MakeStack) -> None:
    first = prepared(make_stack("one"))
    first.set({"endpoints.churn-predictor.version": 3})
    deploy(first)
    second = prepared(make_stack("two"))
    assert second.config() == first.config()
    assert second.config()["endpoints"] == {"churn-predictor": {"version": 3}}
    assert secrets(second) == secrets(first)
    assert "# set by `lab up`" in second.file.read_text()


def test_a_second_clone_of_a_lab_that_never_deployed_gets_the_same_secrets(make_stack: MakeStack) -> None:
    assert secrets(prepared(make_stack("one"))) == secrets(prepared(make_stack("two")))


def test_a_file_of_a_lab_that_was_wiped_is_set_aside(
    make_stack: MakeStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    old = prepared(make_stack("one"))
    old.set({"endpoints.churn-predictor.version": 3})
    kept = old.file.read_text()
    monkeypatch.setenv("LAB_STATE", str(tmp_path / "new-state"))
    new = prepared(make_stack("one"))
    assert "endpoints" not in new.config()
    assert new.file.with_suffix(".yaml.old").read_text() == kept
    assert "it is now Pulumi.local.yaml.old" in capsys.readouterr().out


def test_an_update_says_what_it_changed_and_keeps_the_output_of_the_engine(make_stack: MakeStack) -> None:
    stack, lines = prepared(make_stack("one")), list[str]()
    assert deploy(stack, lines.append) == "1 create"
    assert deploy(stack) == "nothing changed"
    assert any("pulumi:pulumi:Stack" in line for line in lines)
    assert "Resources:" in (paths.logs() / "up.log").read_text()


def test_a_failed_update_prints_its_errors(make_stack: MakeStack) -> None:
    stack = prepared(make_stack("one"))
    program = "import pulumi\nraise pulumi.RunError('mlops:training.churn is wrong')\n"
    (stack.checkout / "infra" / "__main__.py").write_text(program)
    with pytest.raises(
        LabError, match=r"(?s)mlops:training\.churn is wrong\n.*The engine's whole output is in .*up\.log"
    ):
        deploy(stack)


INTERRUPTED = """
import signal, sys
from pathlib import Path
from lab.stack import Stack
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may start the tests with the signal ignored
try:
    Stack(checkout=Path(sys.argv[1])).up(exclude=[], replace=[], log=Path(sys.argv[2]), line=print)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_an_interrupted_lab_waits_until_the_engine_has_ended_in_order(make_stack: MakeStack) -> None:
    stack = prepared(make_stack("one"))
    (stack.checkout / "infra" / "__main__.py").write_text("import time\ntime.sleep(60)\n")
    command = [sys.executable, "-c", INTERRUPTED, str(stack.checkout), str(paths.logs() / "up.log")]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as working:
        while recovery.working_engine() is None:
            assert working.poll() is None
            time.sleep(0.1)
        began = time.monotonic()
        working.send_signal(signal.SIGINT)
        said, _ = working.communicate()
    assert said.splitlines()[-1] == "interrupted"
    assert time.monotonic() - began < 30
    assert recovery.working_engine() is None
    assert not list(paths.pulumi_backend().rglob("locks/**/*.json"))
