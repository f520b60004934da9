"""A preview of a release in terms of the model: what changes, and whether the next version may go live."""
