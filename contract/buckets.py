"""Bounds of the model server's histogram of response times, which objectives of endpoints refer to."""

REQUEST_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
"""Seconds, from one row on an idle CPU to the longest time that a client waits."""
