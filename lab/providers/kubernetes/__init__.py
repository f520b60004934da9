"""The `kubernetes` resource plugin, where the official one cannot be had: `python -m lab.providers.kubernetes`.

It talks to the API server with server-side apply and leaves all defaulting and validation to it.
"""
