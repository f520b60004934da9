"""Preview of a release: what changes in the model, and whether the next version may go live."""
