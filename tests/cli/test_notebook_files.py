"""Notebooks that are copied into a pod and back."""

from pathlib import Path

import pytest

from cli.errors import CommandError
from cli.notebook_files import COPIED, NotebookFiles


@pytest.fixture
def files(tmp_path: Path) -> NotebookFiles:
    return NotebookFiles(tmp_path / "churn-notebook")


def here(files: NotebookFiles) -> dict[str, str]:
    return {file.name: file.read_text() for file in files.folder.glob("*.ipynb")}


def test_a_notebook_that_was_deleted_here_comes_back(files: NotebookFiles) -> None:
    files.given()
    assert not [*files.save({"a.ipynb": "1"})]
    (files.folder / "a.ipynb").unlink()
    assert not [*files.save({"a.ipynb": "1"})]
    assert here(files) == {"a.ipynb": "1"}


def test_a_change_here_stays_until_the_pod_changes_too_and_both_are_kept_then(files: NotebookFiles) -> None:
    files.given()
    assert not [*files.save({"a.ipynb": "1"})]
    (files.folder / "a.ipynb").write_text("mine")
    assert not [*files.save({"a.ipynb": "1"})]
    assert here(files) == {"a.ipynb": "mine"}
    (said,) = files.save({"a.ipynb": "2"})
    assert said.startswith("a.ipynb changed on this machine too")
    assert here(files) == {"a.ipynb": "mine", "a.pod.ipynb": "2"}


def test_the_copy_beside_it_follows_the_pod_until_somebody_changes_it(files: NotebookFiles) -> None:
    files.given()
    (files.folder / "a.ipynb").write_text("mine")
    for number in ("1", "2"):
        assert [*files.save({"a.ipynb": number})]
    assert here(files) == {"a.ipynb": "mine", "a.pod.ipynb": "2"}
    (files.folder / "a.pod.ipynb").write_text("merged")
    assert [*files.save({"a.ipynb": "3"})]
    assert here(files) == {"a.ipynb": "mine", "a.pod.ipynb": "merged", "a.pod1.ipynb": "3"}
    assert [*files.given()] == ["a.ipynb"]


def test_a_pod_writes_notebooks_below_the_folder_and_nothing_else(files: NotebookFiles) -> None:
    files.given()
    outside = ("../x.ipynb", "/x.ipynb", "a/../../x.ipynb", ".git/x.ipynb", ".x.ipynb", "conftest.py", COPIED)
    assert not [*files.save({**dict.fromkeys(outside, "1"), "a/b.ipynb": "1"})]
    assert [str(file.relative_to(files.folder)) for file in files.folder.rglob("*.ipynb")] == ["a/b.ipynb"]
    assert {file.name for file in files.folder.parent.iterdir()} == {"churn-notebook"}


def test_a_record_that_cannot_be_read_costs_no_notebook(files: NotebookFiles) -> None:
    files.given()
    (files.folder / "a.ipynb").write_text("mine")
    (files.folder / COPIED).write_text("")
    assert [*files.save({"a.ipynb": "1"})]
    assert here(files) == {"a.ipynb": "mine", "a.pod.ipynb": "1"}


def test_a_folder_or_notebook_that_cannot_be_used_is_named(files: NotebookFiles) -> None:
    files.folder.write_text("")
    with pytest.raises(CommandError, match=r"the notebooks in .*churn-notebook cannot be read: .*File exists"):
        files.given()
    files.folder.unlink()
    files.given()
    (files.folder / "a.ipynb").write_bytes(bytes([0xFF]))
    with pytest.raises(CommandError, match="cannot be read: 'utf-8' codec"):
        files.given()
