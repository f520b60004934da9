"""Batch predictions: every partition of a table in the artifact store, with the endpoint's answers."""
