"""Bill of materials of an image, in the format of CycloneDX: the Python packages that its Dockerfile installs.

The image's list has the version and the hashes of each package, so no image needs to be built or pulled. It does not
have the packages of the base image; a scanner of images finds them (ECR's, or syft).
"""

import re
from collections.abc import Iterator
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from images.builder import RECIPES
from images.errors import ImageError

ENTRY = re.compile(r"(?m)^([\w.-]+)==(\S+) \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)")


def sbom(image: str, checkout: Path) -> dict[str, object]:
    """Return the bill of materials of one of the images; the same list always gives the same document.

    Raises:
        ImageError: no image has this name, or its Dockerfile installs no Python packages.
    """
    files = {recipe.name: (checkout / recipe.dockerfile).with_name("requirements.lock") for recipe in RECIPES}
    lists = {name: file for name, file in files.items() if file.is_file()}
    if image not in lists:
        raise ImageError(
            f"There is no list of Python packages for the image {image}: only {', '.join(lists)} have one. Write "
            "one of these, or scan the built image."
        )
    return document(image, lists[image].read_text())


def document(image: str, text: str) -> dict[str, object]:
    """Return the bill of materials of an image with this list of packages."""
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": uuid5(NAMESPACE_URL, text).urn,
        "version": 1,
        "metadata": {"component": {"type": "container", "name": image}},
        "components": list(_components(text)),
    }


def _components(text: str) -> Iterator[dict[str, object]]:
    for name, version, hashes in ENTRY.findall(text):
        purl = f"pkg:pypi/{name.lower()}@{version}"
        yield {
            "type": "library",
            "bom-ref": purl,
            "name": name,
            "version": version,
            "purl": purl,
            # A package has a file for each platform; the image has one of them.
            "externalReferences": [
                {"type": "distribution", "url": purl, "hashes": [{"alg": "SHA-256", "content": digest}]}
                for digest in re.findall(r"sha256:([0-9a-f]{64})", hashes)
            ],
        }
