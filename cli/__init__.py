"""The command `mlops`: everything that a person does with the platform, over `runs`, `client`, `training` and `lab`."""
