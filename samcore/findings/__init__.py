"""Checks of a result: what a person should look at."""
