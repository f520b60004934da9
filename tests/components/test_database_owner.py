"""Database of MLflow in a real Postgres, before and after MLflow's user is no longer the administrator."""

import inspect
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy
from sqlalchemy.exc import OperationalError, ProgrammingError

from components import database_owner
from components.local import certificate
from tests.postgres_server import ADMINISTRATOR, DATABASE, PASSWORD, Postgres

USER, USERS_PASSWORD = "mlflow_server", "password-of-the-user"

# They need a Postgres server on this machine.
pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    # Not pytest's folder, in which only the user who runs the tests can read.
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        made = certificate.from_password(PASSWORD, ("localhost",))
        server = Postgres(Path(folder), made.certificate, made.key)
        server.start()
        run(server, "CREATE TABLE runs (id serial PRIMARY KEY)", user=ADMINISTRATOR, password=PASSWORD)
        yield server
        server.stop()


def uri(server: Postgres, user: str, host: str = "localhost") -> str:
    verified = f"sslmode=verify-full&sslrootcert={server.folder}/tls.crt"
    return f"postgresql+psycopg2://{user}@{host}:{server.port}/{DATABASE}?{verified}"


def run(
    server: Postgres, *statements: str, user: str = USER, password: str = USERS_PASSWORD, host: str = "localhost"
) -> None:
    engine = sqlalchemy.create_engine(uri(server, user, host), connect_args={"password": password})
    try:
        with engine.begin() as connection:
            for statement in statements:
                connection.execute(sqlalchemy.text(statement))
    finally:
        engine.dispose()


def give(server: Postgres) -> None:
    """Run the program as its container does."""
    (server.folder / "users-password").write_text(USERS_PASSWORD)
    subprocess.run(
        [
            *(sys.executable, "-c", inspect.getsource(database_owner)),
            *(uri(server, ADMINISTRATOR), USER, f"{server.folder}/users-password"),
        ],
        env={**os.environ, "PGPASSWORD": PASSWORD},
        check=True,
    )


def test_mlflows_user_changes_the_schema_and_is_no_administrator(postgres: Postgres) -> None:
    give(postgres)
    give(postgres)
    run(postgres, "ALTER TABLE runs ADD COLUMN name text", "CREATE TABLE models (id serial PRIMARY KEY)")
    for forbidden in ("CREATE ROLE another", f"ALTER ROLE {ADMINISTRATOR} PASSWORD 'x'"):
        with pytest.raises(ProgrammingError, match=r"permission denied|must be"):
            run(postgres, forbidden)


def test_pods_of_the_former_release_go_on_as_administrator(postgres: Postgres) -> None:
    give(postgres)
    former = {"user": ADMINISTRATOR, "password": PASSWORD}
    run(postgres, "INSERT INTO runs DEFAULT VALUES", "ALTER TABLE runs ADD COLUMN stage text", **former)
    run(postgres, "CREATE TABLE made_by_the_former_release (id serial)", **former)
    give(postgres)
    run(postgres, "ALTER TABLE made_by_the_former_release ADD COLUMN name text")


def test_a_server_whose_certificate_has_another_name_gets_no_password(postgres: Postgres) -> None:
    give(postgres)
    with pytest.raises(OperationalError, match="does not match host name"):
        run(postgres, "SELECT 1", host="127.0.0.1")
