"""Steps that `lab up` would take on this machine, for `lab up --dry-run`."""

from lab import paths
from lab.cluster import operate
from lab.tools.install import missing_packages, missing_tools


def steps(*, own_cluster: bool) -> list[str]:
    """Return the steps in their order. `lab pulumi preview` shows the deployment itself."""
    packages = missing_packages()
    tools = missing_tools(("cluster", "engine", "images", "kubernetes-plugin") if own_cluster else ("engine", "images"))
    processes = operate.plan() if own_cluster else []
    return [
        *([f"install Debian packages: {', '.join(packages)}"] if packages else []),
        *([f"build into {paths.tools()}: {', '.join(tools)}"] if tools else []),
        *([f"start in {paths.cluster()}: {', '.join(processes)}"] if processes else []),
        "build the images whose inputs changed, and bring stack local up to date (see: lab pulumi preview)",
    ]
