"""Base of the lab's images: a small Debian 12 with Python 3.11, made from the machine's own apt sources.

It replaces `python:3.11-slim-bookworm`, which a machine without access to an image registry cannot pull.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from images.commands import Commands
from images.store import ImageStore

SUITE = "bookworm"
PACKAGES = ("ca-certificates", "libgomp1", "python3", "python3-venv", "tzdata")
LEFT_OUT = ("doc", "info", "locale", "man")
DOCKERFILE = 'FROM scratch\nADD base.tar /\nCMD ["python3"]\n'


@dataclass(frozen=True, kw_only=True)
class BaseImage:
    """Image `lab.local/base:<hash>`. The hash changes with the suite, the packages and the recipe."""

    suite: str = SUITE
    packages: tuple[str, ...] = PACKAGES

    @property
    def ref(self) -> str:
        """Name of the image; it does not depend on whether the image exists."""
        recipe = "\n".join([self.suite, *sorted(self.packages), *LEFT_OUT, DOCKERFILE])
        return f"lab.local/base:{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"

    def make(self, commands: Commands, store: ImageStore, *, log: Path) -> None:
        """Build the image into the store, which takes about two minutes. A failed build leaves nothing behind."""
        with store.scratch("base") as folder:
            tree = folder / "base.tar"
            commands.watch(
                # mmdebstrap's mounts end with this mount namespace, even if it is killed.
                ["unshare", "--mount", "--propagation", "private",
                 "mmdebstrap", "--mode=root", "--variant=minbase", f"--include={','.join(self.packages)}",
                 '--aptopt=Acquire::Languages "none"',
                 *(f"--dpkgopt=path-exclude=/usr/share/{part}/*" for part in LEFT_OUT),
                 self.suite, str(tree), *apt_sources(commands, self.suite)],
                log=log,
                env=store.environment(),
            )  # fmt: skip
            (folder / "Dockerfile").write_text(DOCKERFILE)
            commands.watch(store.buildah("bud", "--tag", self.ref, str(folder)), log=log, env=store.environment())


def apt_sources(commands: Commands, suite: str) -> list[str]:
    """Return the machine's own Debian sources of `suite`, one `deb` line each; none on a machine with another release.

    With none, mmdebstrap uses its default mirror.
    """
    fields = "$(ORIGIN)|$(CODENAME)|$(REPO_URI)|$(COMPONENT)"
    listed = commands.output(["apt-get", "indextargets", "--format", fields, "Created-By: Packages"])
    rows = {tuple(line.split("|")) for line in listed.splitlines() if line.count("|") == 3}
    wanted = {suite, f"{suite}-updates", f"{suite}-security"}
    lines = {
        f"deb {address} {codename} {component}"
        for origin, codename, address, component in rows
        if origin == "Debian" and codename in wanted and component == "main"
    }
    return sorted(lines) if any(f" {suite} " in line for line in lines) else []
