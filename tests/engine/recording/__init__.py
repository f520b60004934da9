"""Plugins without a cloud: they write down what the engine asks and make up what a cloud would answer.

`python -m tests.engine.recording PACKAGE` serves any package. Environment:

- `MLOPS_RECORDING`: a file; each request is appended as one line of JSON (see `Request`).
- `MLOPS_RECORDING_ORDERS`: JSON, from a resource type or `type::name` to `{"fail": "message"}`, with which creates and
  updates outside of previews fail; or to `{"live": {...}}`, the outputs that a read finds, `null` where the resource is
  gone.
"""
