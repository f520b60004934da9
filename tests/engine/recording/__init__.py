"""Plugins without a cloud: they write down what the engine asks and make up what a cloud would answer.

`python -m tests.engine.recording PACKAGE` serves any package. The environment variable `MLOPS_RECORDING` names a file:
each request is appended to it as one line of JSON (see `Request`).
"""
