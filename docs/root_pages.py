"""Hook of mkdocs: CONTRIBUTING.md and CHANGELOG.md, which are in the repository's root, become pages of the site."""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

PAGES = ("CONTRIBUTING.md", "CHANGELOG.md")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages; links to docs/PAGE.md become links to PAGE.md, because docs/ is the root of the site."""
    for page in PAGES:
        text = Path(config.config_file_path).with_name(page).read_text(encoding="utf-8")
        files.append(File.generated(config, page.lower(), content=text.replace("](docs/", "](")))
    return files
