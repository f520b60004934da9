"""Pulumi plugins that record the engine's requests and return plausible values instead of a cloud's.

`python -m tests.engine.recording PACKAGE` serves any package. Environment:

- `MLOPS_RECORDING`: a file; each request is appended as one line of JSON (see `Request`).
- `MLOPS_RECORDING_ORDERS`: JSON, a mapping from a resource type or `type::name` to `{"fail": "message"}`, with which
  creates and updates outside previews fail, or to `{"unready": "message"}`, with which they change the object and
  then fail, as a Deployment whose pods do not become ready; to `{"wait": true}`, with which a create lasts as long as
  the engine; or to `{"live": {...}}`, the outputs that a read returns (`null` if the resource does not exist).
"""
