"""Comments, commit statuses and pull requests on GitHub, and the line of a stack file that a release changes."""
