"""Errors of the image builder. The message says what is wrong, why, and what to do."""


class ProgramError(Exception):
    """A program that was run is not installed, or failed; the command exits with FAILED."""


class ImageError(Exception):
    """An image cannot be built or pushed; the command exits with FAILED."""


class RequirementsError(ImageError):
    """No image can have the packages that a model version requires; another try fails in the same way."""
