"""Athena's API over DuckDB: the same requests and results, for logs in the tests' bucket."""

import json
import re
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import duckdb

from tests.model_server.s3 import Bucket

# Functions of Trino that DuckDB has under another name.
MACROS = (
    "CREATE MACRO to_utf8(x) AS x",
    "CREATE MACRO to_unixtime(x) AS epoch(x)",
    "CREATE MACRO is_nan(x) AS isnan(x)",
    "CREATE MACRO regexp_like(x, y) AS regexp_matches(x, y)",
    "SET TimeZone = 'UTC'",
)


@dataclass
class Athena:
    """State of the server: the bucket's objects lie in a folder, too."""

    bucket: Bucket
    folder: Path
    statements: list[str] = field(default_factory=list[str])
    failed: dict[str, str] = field(default_factory=dict[str, str])
    port: int = 0

    def start(self, statement: str) -> str:
        """Run a statement, put its result into the bucket, and return its ID."""
        self.statements.append(statement)
        name = f"{len(self.statements)}"
        file = self.folder / "result.csv"
        try:
            if declared := re.match(
                r"CREATE EXTERNAL TABLE IF NOT EXISTS `(\w+)`.* LOCATION 's3://bucket/(.*?)'", statement
            ):
                self._declare(*declared.groups())
                self.bucket.objects[f"results/{name}.csv"] = b""
            else:
                self._database.execute(f"COPY ({statement}) TO '{file}' (HEADER, FORCE_QUOTE *)")
                self.bucket.objects[f"results/{name}.csv"] = file.read_bytes()
        except duckdb.Error as error:
            self.failed[name] = str(error)
        return name

    def _declare(self, table: str, prefix: str) -> None:
        options = "filename = true, hive_partitioning = true, hive_types_autocast = false"
        files = f"read_parquet('{self.folder}/{prefix}**/*.parquet', {options})"
        self._database = duckdb.connect()
        for one in MACROS:
            self._database.execute(one)
        plain = 'CAST("at" AS TIMESTAMP) AS "at"'  # Athena's timestamps have no zone
        self._database.execute(f'CREATE VIEW "{table}" AS SELECT * REPLACE ({plain}), filename AS "$path" FROM {files}')


class _Server(ThreadingHTTPServer):
    athena: Athena


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        athena = cast("_Server", self.server).athena
        asked: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers["X-Amz-Target"].endswith(".StartQueryExecution"):
            assert asked["WorkGroup"] == asked["QueryExecutionContext"]["Database"]
            answer: dict[str, Any] = {"QueryExecutionId": athena.start(asked["QueryString"])}
        else:
            name = asked["QueryExecutionId"]
            reason = athena.failed.get(name)
            state = {"State": "FAILED", "StateChangeReason": reason} if reason else {"State": "SUCCEEDED"}
            answer = {
                "QueryExecution": {
                    "Status": state,
                    "ResultConfiguration": {"OutputLocation": f"s3://bucket/results/{name}.csv"},
                }
            }
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        del code, size  # silent


@contextmanager
def athena(bucket: Bucket, folder: Path) -> Generator[Athena]:
    """Run the server while the block runs; `folder` has the bucket's objects as files."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.athena = Athena(bucket, folder, port=server.server_port)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.athena
        server.shutdown()
        thread.join()
