"""Partitions of the prediction log in an engine that computes them (partition projection), by the log's layout.

The shipper writes `date=YYYY-MM-DD/hour=HH/` below the folder of a version (model_server/prediction_log/ship.py).
"""

HOURS = {
    "projection.enabled": "true",
    "projection.date.type": "date",
    "projection.date.format": "yyyy-MM-dd",
    "projection.date.range": "2024-01-01,NOW+1DAYS",
    "projection.hour.type": "integer",
    "projection.hour.range": "0,23",
    "projection.hour.digits": "2",
}
"""Table properties of Athena for the partitions by date and hour."""
FOLDERS = "date=${date}/hour=${hour}/"
"""End of the location template for these partitions."""
