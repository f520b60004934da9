from pathlib import Path

from drift import log, store
from drift.log import Part, Trouble
from tests.drift.examples import DAY, START, logged, rows, write

PART = Part(model="model", version=1, start=START, end=START + DAY)


def test_a_file_that_is_half_written_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    write(tmp_path, logged(rows(20, 1)))
    half = write(tmp_path, logged(rows(20, 2)), hour=5)
    half.write_bytes(half.read_bytes()[:-100])
    trouble = Trouble()
    assert sum(table.num_rows for table in log.tables(store.at(str(tmp_path)), PART, trouble)) == 20
    assert len(trouble.unreadable) == 1
    assert "hour=05/pod-0.parquet" in trouble.notes[0]


def test_each_version_is_read_by_itself(tmp_path: Path) -> None:
    write(tmp_path, logged(rows(20, 1)))
    write(tmp_path, logged(rows(30, 2)), version=2)
    where = store.at(str(tmp_path))
    assert log.versions(where, "model") == [1, 2]
    assert sum(table.num_rows for table in log.tables(where, PART)) == 20


def test_only_the_hours_of_the_window_are_read(tmp_path: Path) -> None:
    for hour in (3, 9, 10, 15):
        write(tmp_path, logged(rows(10, hour)), hour=hour)
    hour = DAY / 24
    part = Part(model="model", version=1, start=START + 10 * hour, end=START + 11 * hour)
    # A file of the hour before may hold rows of the window.
    assert log.count_files(store.at(str(tmp_path)), part) == 2
