"""A release that fails is taken back to what answers."""

import json
from pathlib import Path

import pulumi
import pytest

from components.rollback import REVISION, revision_before, take_back
from tests.deployed import deployed

ASKED = {"endpoints.churn-predictor.rollback_on_failure": True}


def replica_set(revision: int, ready: int) -> dict[str, dict[str, object]]:
    return {
        "metadata": {"annotations": {REVISION: str(revision)}},
        "status": {"replicas": ready, **({"readyReplicas": ready} if ready else {})},
    }


@pytest.mark.parametrize(
    ("revisions", "before"),
    [
        ({7: 2, 8: 0}, 7),
        ({7: 1, 8: 1}, 7),  # the second pod of a release failed
        ({6: 2, 7: 0, 8: 0}, 6),  # the failure before this one was never taken back
        ({9: 2, 10: 0}, 9),
        ({8: 2}, None),
        ({8: 0}, None),
        ({7: 0, 8: 2}, None),
        ({}, None),
    ],
)
def test_the_revision_before_is_the_latest_that_answers_and_did_not_fail(
    revisions: dict[int, int], before: int | None
) -> None:
    assert revision_before([replica_set(revision, ready) for revision, ready in revisions.items()]) == before


def test_without_kubectl_the_stack_is_refused_before_anything_is_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(pulumi.RunError, match="rollback_on_failure needs kubectl, and it is not on PATH"):
        deployed(ASKED)


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kubectl that knows of revision 7, which answers, and 8; gives the file with what else it was asked to do."""
    asked, listed = tmp_path / "asked", {"items": [replica_set(7, 2), replica_set(8, 0)]}
    (tmp_path / "listed.json").write_text(json.dumps(listed))
    program = tmp_path / "kubectl"
    program.write_text(
        f"""#!/bin/bash
        case "$*" in
          *" get "*) cat {tmp_path}/listed.json;;
          *) echo "$*" >> {asked}; [ "$1" != --kubeconfig ] || cat "$2" >> {asked};;
        esac
        """
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return asked


def test_the_cluster_of_the_stack_is_asked_and_not_that_of_the_moments_context(kubectl: Path) -> None:
    take_back("churn", "ours", None)
    assert (
        kubectl.read_text() == "--context ours --namespace ml-serving rollout undo deployment/churn --to-revision=7\n"
    )


def test_a_cluster_that_this_program_made_is_reached_by_its_own_kubeconfig(kubectl: Path) -> None:
    take_back("churn", None, "{made}")
    command, file = kubectl.read_text().splitlines()
    assert command.endswith("--namespace ml-serving rollout undo deployment/churn --to-revision=7")
    assert file == "{made}"


def test_a_cluster_that_does_not_answer_costs_a_warning_and_not_the_reason_of_the_failure(
    kubectl: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    kubectl.with_name("kubectl").write_text("#!/bin/bash\necho the server is away >&2; exit 1\n")
    take_back("churn", "ours", None)
    assert "could not be taken back: the server is away; the pods before it serve" in capfd.readouterr().err


def test_a_first_release_that_fails_stays_as_there_is_nothing_before_it(kubectl: Path) -> None:
    kubectl.with_name("listed.json").write_text(json.dumps({"items": [replica_set(1, 0)]}))
    take_back("churn", "ours", None)
    assert not kubectl.exists()
