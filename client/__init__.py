"""Asks a served model about the rows of a file, and writes typed clients of it. Needs an address or a kubeconfig."""
