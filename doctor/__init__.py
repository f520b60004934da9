"""Checks of a stack before its first update and on any day after it. They only read."""
