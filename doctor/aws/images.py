"""Checks of container images in ECR."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from doctor.aws.requests import AbsentError, Aws
from doctor.findings import Finding, UncheckedError, ok, problem, unchecked, warning
from doctor.stack_file import Stack
from infra.config.aws import AwsFoundation

ECR = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(\.cn)?/(?P<repository>[^:@]+)"
    r"(:(?P<tag>[^@]+))?(@(?P<digest>sha256:[0-9a-f]{64}))?"
)
LISTS = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
SINGLE = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")
Download = Callable[[str], bytes]
"""Function that returns the content of a signed URL."""


@dataclass(frozen=True, kw_only=True)
class _Image:
    """Image in ECR."""

    key: str
    """Key of the stack file."""
    name: str
    account: str
    region: str
    repository: str
    id: Mapping[str, str]
    """Tag or digest, as ECR's requests name it."""

    @property
    def request(self) -> dict[str, object]:
        return {"registryId": self.account, "repositoryName": self.repository, "imageIds": [dict(self.id)]}


def download(url: str) -> bytes:
    """Return the content of a URL. UncheckedError if it cannot be read."""
    try:
        return httpx.get(url, timeout=10).raise_for_status().content
    except httpx.HTTPError as error:
        raise UncheckedError(f"the image's configuration could not be downloaded: {error}") from error


def images(aws: Aws, stack: Stack, chosen: AwsFoundation, fetch: Download = download) -> Iterator[Finding]:
    """Check that each image of the stack file exists, for the architecture of the nodes."""
    wanted = next(pool.architecture for pool in chosen.node_pools.values())
    for key, name in stack.images.items():
        if (found := ECR.fullmatch(name)) is None:
            yield unchecked(
                f"{key} is {name}: only images in ECR can be looked up", f"run docker manifest inspect {name}"
            )
            continue
        identity = {"imageDigest": found["digest"]} if found["digest"] else {"imageTag": found["tag"]}
        image = _Image(
            key=key,
            name=name,
            account=found["account"],
            region=found["region"],
            repository=found["repository"],
            id=identity,
        )
        yield _image(aws.at(image.region), stack, image, wanted, fetch)


def _image(aws: Aws, stack: Stack, image: _Image, wanted: str, fetch: Download) -> Finding:
    push = f"build the image for linux/{wanted}, run docker push {image.name}"
    try:
        aws.ask("ecr", "describe_images", **image.request)
    except AbsentError as error:
        if error.code == "RepositoryNotFoundException" and image.repository.startswith(f"{stack.full_name}/"):
            return warning(
                f"the repository of {image.key} does not exist yet: {image.repository}",
                "the stack creates it, and pods wait until the image is there",
                "run pulumi up --target '**mlops:aws:**' (docs/aws.md, step 4), then push the image",
            )
        return problem(
            f"{image.key} does not exist: {image.name}",
            "its pods cannot start, and pulumi up fails after some minutes",
            push,
        )
    there = _architectures(aws, image, fetch)
    if wanted not in there:
        return problem(
            f"{image.key} is for {', '.join(sorted(there))}, and the nodes are {wanted}: {image.name}",
            "its containers end with `exec format error`",
            f"{push} under another tag, and write that into {image.key}",
        )
    return ok(f"{image.name} for {', '.join(sorted(there))}")


def _architectures(aws: Aws, image: _Image, fetch: Download) -> set[str]:
    """Return the architectures of an image; a manifest of one image has its architecture in a file of its own."""
    accepted = [*LISTS, *SINGLE]
    found = aws.ask("ecr", "batch_get_image", **image.request, acceptedMediaTypes=accepted)["images"]
    if not found:
        raise UncheckedError(f"ECR returned no manifest of {image.name}")
    manifest: Any = json.loads(found[0]["imageManifest"])
    if "manifests" in manifest:
        listed = {each.get("platform", {}).get("architecture", "unknown") for each in manifest["manifests"]}
        return listed - {"unknown"}  # attestations
    request = {"registryId": image.account, "repositoryName": image.repository}
    url = aws.ask("ecr", "get_download_url_for_layer", **request, layerDigest=manifest["config"]["digest"])
    return {json.loads(fetch(url["downloadUrl"]))["architecture"]}
