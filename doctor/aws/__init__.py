"""Checks of an AWS account for one stack."""
