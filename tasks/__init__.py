"""Prefect tasks: retries, progress and storage around the engine, one task a file."""

from tasks.settings import set_defaults

# Prefect and torch read the environment when they are imported, which is after this.
set_defaults()
