"""Access to a cluster through kubectl."""

import os
import sys
from pathlib import Path

import pytest

from runs.cluster import Cluster
from runs.errors import ClusterError


def test_a_port_forward_that_nothing_answers_ends_at_the_time_limit(tmp_path: Path) -> None:
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(f"#!{sys.executable}\nimport signal\nsignal.pause()\n")
    kubectl.chmod(0o755)
    cluster = Cluster(environment={**os.environ, "PATH": str(tmp_path)}, seconds=1)
    with (
        pytest.raises(ClusterError, match="Service mlflow cannot be reached through kubectl: no pod responded in time"),
        cluster.forwarded("mlops-platform", "mlflow", 5000),
    ):
        pytest.fail("nothing was forwarded")
