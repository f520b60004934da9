"""Real Postgres on this machine, set up as RDS does it: the administrator may create users and is no superuser."""

import os
import shutil
import socket
import subprocess
from pathlib import Path

ADMINISTRATOR, PASSWORD, DATABASE = "mlflow", "0123456789-administrator", "mlflow"
ANOTHER_USER = 65534
"""User ID with which Postgres runs if the tests run as root, which Postgres refuses."""


class Postgres:
    """Postgres process with TLS; it needs the programs of a Postgres server, such as Debian's package `postgresql`."""

    def __init__(self, folder: Path, certificate: str, key: str) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        (folder / "tls.crt").write_text(certificate)
        (folder / "tls.key").write_text(key)
        (folder / "tls.key").chmod(0o600)
        (folder / "password").write_text(PASSWORD)
        if os.getuid() == 0:
            for path in (folder, *folder.iterdir()):
                os.chown(path, ANOTHER_USER, ANOTHER_USER)

    def start(self) -> None:
        """Create the data folder, the administrator and the database, and serve them."""
        data = self.folder / "data"
        self._run(
            "initdb", "-D", str(data), "-U", "rdsadmin", "--auth=scram-sha-256", f"--pwfile={self.folder}/password"
        )
        tls = f"-c ssl=on -c ssl_cert_file={self.folder}/tls.crt -c ssl_key_file={self.folder}/tls.key"
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 {tls}"
        self._run("pg_ctl", "-D", str(data), "-w", "-l", str(self.folder / "log"), "-o", options, "start")
        role = f"CREATE ROLE {ADMINISTRATOR} LOGIN CREATEROLE CREATEDB PASSWORD '{PASSWORD}'"
        self.execute(role, f"CREATE DATABASE {DATABASE} OWNER {ADMINISTRATOR}")

    def stop(self) -> None:
        """Stop the server."""
        self._run("pg_ctl", "-D", str(self.folder / "data"), "-m", "immediate", "stop")

    def execute(self, *statements: str) -> None:
        """Run SQL statements as superuser."""
        for statement in statements:
            self._run("psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", "rdsadmin", "postgres", "-qc", statement)

    def _run(self, program: str, *arguments: str) -> None:
        other = ANOTHER_USER if os.getuid() == 0 else None
        subprocess.run(
            [_path(program), *arguments],
            check=True,
            env={"PGPASSWORD": PASSWORD, "LC_ALL": "C.UTF-8"},
            cwd="/",
            stdout=subprocess.DEVNULL,
            user=other,
            group=other,
            extra_groups=None if other is None else [],
        )


def _path(program: str) -> str:
    """Return a program of Postgres: from PATH, or from the folder of the newest version of Debian's packages."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    if found := shutil.which(program, path=os.pathsep.join([*map(str, reversed(folders)), os.environ["PATH"]])):
        return found
    raise FileNotFoundError(f"{program} is not installed; install the package postgresql")
