"""Dockerfiles of the platform's images, and their builder, which uses buildah and no container engine."""
