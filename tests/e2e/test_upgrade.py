"""A stack that the former release deployed is taken over by this code."""

import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest

from lab import dataset
from tests.e2e.conftest import ENDPOINT, OURS, ROOT, Platform
from tests.e2e.load import load

pytestmark = [pytest.mark.e2e, pytest.mark.nightly]

FORMER_RELEASE = "2d969ed"
KEPT = "deployments,statefulsets,services,persistentvolumeclaims"
CUSTOMERS = dataset.customers(2)


@pytest.fixture
def former(tmp_path: Path) -> Generator[Path]:
    """A checkout of the former release, with its packages and a lab that its own `lab up` made out of nothing."""
    Platform().lab("down", "--wipe")
    (ROOT / "Pulumi.local.yaml").unlink(missing_ok=True)
    checkout = tmp_path / "former"
    subprocess.run(["git", "worktree", "add", "--quiet", "--detach", checkout, FORMER_RELEASE], cwd=ROOT, check=True)
    try:
        subprocess.run([checkout / "lab" / "bootstrap.sh"], cwd=checkout, check=True)
        subprocess.run([checkout / ".venv" / "bin" / "lab", "up"], cwd=checkout, check=True)
        yield checkout
    finally:
        subprocess.run(["git", "worktree", "remove", "--force", checkout], cwd=ROOT, check=True)


def identities(platform: Platform) -> dict[str, str]:
    """UIDs of what must not be replaced, by kind and name."""
    found = [item for namespace in OURS for item in platform.items(KEPT, "--namespace", namespace)]
    return {f"{item['kind']} {item['metadata']['name']}": item["metadata"]["uid"] for item in found}


@pytest.mark.usefixtures("former")
def test_a_stack_of_the_former_release_is_updated_under_load_and_nothing_that_holds_data_is_replaced() -> None:
    platform = Platform()
    before, versions = identities(platform), platform.versions().keys()
    assert any(name.startswith("PersistentVolumeClaim") for name in before)
    with load(f"{platform.endpoint_url()}/invocations", {"dataframe_records": CUSTOMERS}) as answers:
        platform.lab("up", timeout=1200)
    print(f"{len(answers.all)} answers, {len(answers.failures)} failures")
    assert answers.failures == []
    assert len(answers.all) >= 1000
    assert before.items() <= identities(platform).items()
    assert versions <= platform.versions().keys()
    assert platform.predict(CUSTOMERS).headers["X-Model-Version"] == "1"
    assert platform.get("deployment", ENDPOINT, "-n", "ml-serving")["status"]["readyReplicas"] >= 1
