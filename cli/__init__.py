"""The command `mlops`. Its functions are in `runs`, `client`, `training` and `lab`."""
