"""What every image of the lab stands on: a small Debian 12 with Python 3.11, made from the machine's own apt sources.

It takes the place of `python:3.11-slim-bookworm`, which a machine without an image registry cannot have.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from lab.commands import Commands
from lab.image_store import ImageStore

SUITE = "bookworm"
PACKAGES = ("ca-certificates", "libgomp1", "python3", "python3-venv", "tzdata")
LEFT_OUT = ("doc", "info", "locale", "man")
DOCKERFILE = 'FROM scratch\nADD base.tar /\nCMD ["python3"]\n'


@dataclass(frozen=True, kw_only=True)
class BaseImage:
    """`lab.local/base:<hash>`; another suite, package or way of making it is another hash."""

    suite: str = SUITE
    packages: tuple[str, ...] = PACKAGES

    @property
    def ref(self) -> str:
        """The name of the image, known before it is made."""
        recipe = "\n".join([self.suite, *sorted(self.packages), *LEFT_OUT, DOCKERFILE])
        return f"lab.local/base:{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"

    def make(self, commands: Commands, store: ImageStore, *, log: Path) -> None:
        """The image is in the store afterwards; takes about two minutes. A half-made one leaves nothing behind."""
        with store.scratch("base") as folder:
            tree = folder / "base.tar"
            commands.watch(
                # A mount namespace of its own: what mmdebstrap mounts goes with it, however it ends.
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
    """The machine's own Debian sources of `suite`, one `deb` line each; none where it runs another release.

    mmdebstrap then takes its default mirror.
    """
    fields = "$(ORIGIN)|$(CODENAME)|$(REPO_URI)|$(COMPONENT)"
    listed = commands.answer(["apt-get", "indextargets", "--format", fields, "Created-By: Packages"])
    rows = {tuple(line.split("|")) for line in listed.splitlines() if line.count("|") == 3}
    wanted = {suite, f"{suite}-updates", f"{suite}-security"}
    lines = {
        f"deb {address} {codename} {component}"
        for origin, codename, address, component in rows
        if origin == "Debian" and codename in wanted and component == "main"
    }
    return sorted(lines) if any(f" {suite} " in line for line in lines) else []
