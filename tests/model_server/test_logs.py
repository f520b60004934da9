import json
import logging

import pytest

from model_server.logs import JsonFormatter


def line(record: logging.LogRecord) -> dict[str, object]:
    return json.loads(JsonFormatter().format(record))


def test_a_line_is_json_with_time_level_and_what_it_is_about() -> None:
    record = logging.LogRecord("serving", logging.WARNING, __file__, 1, "request %s", ("refused",), None)
    record.about = {"status": 400}
    record.created, record.msecs = 1_700_000_000.25, 250.0
    assert line(record) == {
        "time": "2023-11-14T22:13:20.250Z",
        "level": "warning",
        "message": "request refused",
        "status": 400,
    }


def test_an_exception_is_its_type_and_place_and_not_its_words() -> None:
    with pytest.raises(ValueError, match="4111") as raised:
        int("4111-1111")
    failed = (raised.type, raised.value, raised.tb)
    record = logging.LogRecord("serving", logging.ERROR, __file__, 1, "request failed", (), failed)
    said = line(record)
    assert str(said["exception"]).startswith("ValueError at test_logs.py:")
    assert "4111" not in json.dumps(said)
