import subprocess
from pathlib import Path

from contract.digest import folder_digest


def test_the_digest_is_what_sha256sum_makes_of_the_files(tmp_path: Path) -> None:
    (tmp_path / "b" / "c").mkdir(parents=True)
    for name, content in {"z": "1", "b/c/d": "2", "b-": "3", "Ä": "", "registered_model_meta": "4"}.items():
        (tmp_path / name).write_text(content)
    find = r"find . -type f ! -path ./registered_model_meta -printf '%P\n'"
    command = rf"{find} | LC_ALL=C sort | xargs -d '\n' sha256sum | sha256sum"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert folder_digest(tmp_path) == done.stdout.split()[0]
