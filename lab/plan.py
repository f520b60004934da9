"""What `lab up` would do to this machine, found out without doing it."""

from lab import paths
from lab.cluster import operate
from lab.tools.install import missing_packages, missing_tools


def steps(*, own_cluster: bool) -> list[str]:
    """In words, in order; the deployment itself is what `lab pulumi preview` tells."""
    packages = missing_packages()
    tools = missing_tools(() if own_cluster else ("engine", "images"))
    processes = operate.plan() if own_cluster else []
    return [
        *([f"install Debian packages: {', '.join(packages)}"] if packages else []),
        *([f"build into {paths.tools()}: {', '.join(tools)}"] if tools else []),
        *([f"start in {paths.cluster()}: {', '.join(processes)}"] if processes else []),
        "build the images whose inputs changed, and bring stack local up to date (see: lab pulumi preview)",
    ]
