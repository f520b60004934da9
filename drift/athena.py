"""Athena: counts a window of a log that is too large for one machine, and costs by the bytes that it reads."""

import io
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from functools import cached_property
from typing import Any, Protocol, cast

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from contract import log_partitions
from drift import sql
from drift.sql import Source
from drift.window import Window
from prediction_log import log
from prediction_log import store as stores
from prediction_log.arrow import Table, csv, pa
from prediction_log.log import LogFile
from prediction_log.store import LogError, Store, StoreError

TYPES: Mapping[Any, str] = {
    pa.string(): "string", pa.int32(): "int", pa.int64(): "bigint", pa.float32(): "float", pa.float64(): "double",
    pa.bool_(): "boolean", pa.timestamp("us", "UTC"): "timestamp",
}  # fmt: skip
"""Types of Athena by those of the log's columns; others are not compared."""
NAME = re.compile(r"[A-Za-z0-9_]+")
"""Names of columns that Athena takes."""
PAUSE, LONGEST = 1.0, 1800.0
"""Seconds between two looks at a running statement, and the longest time that it may take."""


class _Client(Protocol):
    """Typed part of boto3's client."""

    def start_query_execution(self, **what: object) -> Mapping[str, Any]: ...
    def get_query_execution(self, **which: str) -> Mapping[str, Any]: ...


@dataclass(frozen=True, kw_only=True)
class Athena:
    """Athena in the account and region of the credentials."""

    workgroup: str
    """Name of the workgroup, and of the database for the tables."""

    def fill(self, window: Window, store: Store, files: Sequence[LogFile], *, model: str, endpoint: str) -> None:
        """Count the rows of the window.

        Args:
            window: window, empty yet.
            store: bucket with the log.
            files: files of one version with rows of the window.
            model: name of the registered model.
            endpoint: endpoint whose predictions are counted; empty for all.

        Raises:
            LogError: the log is not in a bucket, or Athena refuses a statement.
            StoreError: Athena did not respond.
        """
        if not store.uri.startswith("s3://"):
            raise LogError(f"Athena cannot read {store.uri}, a folder; write --log s3://BUCKET, or --engine local")
        if not files:
            return
        types = {
            name: kind
            for name, kind in log.columns(store, files[-1]).items()
            if window.is_read(name) and kind in TYPES and NAME.fullmatch(name)
        }
        table = f"predictions_{model}_{files[0].version}".replace("-", "_")
        self._finish(_declaration(table, types, f"{store.uri}/{files[0].key.partition('date=')[0]}"))
        start, end = window.start.astimezone(UTC), window.end.astimezone(UTC)
        where = f"\"date\" BETWEEN '{start:%Y-%m-%d}' AND '{end:%Y-%m-%d}'"
        if endpoint:
            ours, any_pod = (f"regexp_like(\"$path\", '{log.name_pattern(name)}')" for name in (endpoint, ""))
            where += f" AND ({ours} OR NOT {any_pod})"
        # Athena's timestamps are in UTC and have no zone.
        plain = {name: pa.timestamp("us") if pa.types.is_timestamp(kind) else kind for name, kind in types.items()}
        sql.fill(window, Source(table=table, types=plain, where=where), self._query)

    def _query(self, statement: str, types: dict[str, Any]) -> Table:
        folder, _, name = self._finish(statement).rpartition("/")
        try:
            return csv.read_csv(
                io.BytesIO(stores.at(folder).read(name)),
                read_options=csv.ReadOptions(column_names=list(types), skip_rows=1),
                # Athena quotes each value but NULL.
                convert_options=csv.ConvertOptions(
                    column_types=types, null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False
                ),
            )
        except (FileNotFoundError, pa.ArrowException) as error:
            raise StoreError(f"the result {folder}/{name} of Athena cannot be read: {error}; try again") from error

    def _finish(self, statement: str) -> str:
        """Run a statement and return the address of its result."""
        try:
            started = self._client.start_query_execution(
                QueryString=statement, WorkGroup=self.workgroup, QueryExecutionContext={"Database": self.workgroup}
            )
            deadline = time.monotonic() + LONGEST
            while time.monotonic() < deadline:
                found = self._client.get_query_execution(QueryExecutionId=started["QueryExecutionId"])["QueryExecution"]
                match found["Status"]["State"]:
                    case "SUCCEEDED":
                        return found["ResultConfiguration"]["OutputLocation"]
                    case "FAILED" | "CANCELLED" as state:
                        reason = " ".join(found["Status"].get("StateChangeReason", state).split())
                        raise LogError(
                            f"Athena ended a statement in the workgroup {self.workgroup}: {reason}; correct the "
                            "workgroup, raise its limit, or write --engine local"
                        )
                    case _:
                        time.sleep(PAUSE)
        except ClientError as error:
            raise LogError(
                f"Athena refuses the workgroup {self.workgroup}: {error}; write --workgroup with the stack's output "
                "`athena`, and use credentials that may query it"
            ) from error
        except BotoCoreError as error:
            raise StoreError(f"Athena did not respond ({error}); check region and network, and try again") from error
        raise StoreError(f"Athena did not finish a statement in {LONGEST:.0f} seconds; try again")

    @cached_property
    def _client(self) -> _Client:
        return cast("Any", boto3).client("athena", config=stores.S3)


def _declaration(table: str, types: Mapping[str, Any], location: str) -> str:
    """Return the statement that declares the table of a version; its partitions follow from the hour of each file."""
    columns = ", ".join(f"`{name}` {TYPES[kind]}" for name, kind in types.items())
    properties = {**log_partitions.HOURS, "storage.location.template": f"{location}{log_partitions.FOLDERS}"}
    listed = ", ".join(f"'{name}' = '{value}'" for name, value in properties.items())
    return (
        f"CREATE EXTERNAL TABLE IF NOT EXISTS `{table}` ({columns}) PARTITIONED BY (`date` string, `hour` string) "
        f"STORED AS PARQUET LOCATION '{location}' TBLPROPERTIES ({listed})"
    )
