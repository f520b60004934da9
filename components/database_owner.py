"""Program that gives a database to a user who has no other rights; it runs in MLflow's image, before a migration.

Arguments: URI of the database as its administrator, name of the user, file with the user's password. libpq reads the
administrator's password from PGPASSWORD. The program imports nothing of the project, because its source is the
command of a container. It can be repeated, and stopped at any point.
"""

import sys
from pathlib import Path

from psycopg2.extensions import encrypt_password
from sqlalchemy import create_engine, text

TABLES = text(
    "SELECT format('%I.%I', relnamespace::regnamespace::text, relname) FROM pg_class"
    " WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm')"
    " AND relowner <> (SELECT oid FROM pg_roles WHERE rolname = :user) ORDER BY relname"
)
"""Tables and views of MLflow that have another owner; a sequence follows the table of its column."""


def main(uri: str, user: str, password_file: str) -> None:
    """Create the user or set its password, and make it the owner of the database and of MLflow's tables."""
    # A table that is in use is waited for, not so long that others queue up; then the Job repeats this program.
    engine = create_engine(uri, isolation_level="AUTOCOMMIT", connect_args={"options": "-c lock_timeout=10s"})
    quote = engine.dialect.identifier_preparer.quote_identifier
    with engine.connect() as connection:
        # The server gets a hash, because it writes a statement that fails to its log.
        password = encrypt_password(
            Path(password_file).read_text(), user, connection.connection.driver_connection, "scram-sha-256"
        )
        exists = connection.scalar(text("SELECT true FROM pg_roles WHERE rolname = :user"), {"user": user})
        verb = "ALTER" if exists else "CREATE"
        connection.execute(text(f"{verb} ROLE {quote(user)} LOGIN PASSWORD :password"), {"password": password})
        # The administrator keeps all rights in the database: pods of a former release connect as the administrator.
        connection.execute(text(f"GRANT {quote(user)} TO CURRENT_USER"))
        database = quote(str(connection.scalar(text("SELECT current_database()"))))
        connection.execute(text(f"ALTER DATABASE {database} OWNER TO {quote(user)}"))
        tables = connection.scalars(TABLES, {"user": user}).all()
        for table in tables:
            connection.execute(text(f"ALTER TABLE {table} OWNER TO {quote(user)}"))
    engine.dispose()
    print(f"{user} owns the database {database} and its tables; {len(tables)} had another owner")


if __name__ == "__main__":
    main(*sys.argv[1:])
