"""Prefect tasks: retries, progress and storage around the engine, one task a file."""

from samcore.disk.files import keep_private
from tasks.settings import cache_dir, set_defaults

# Prefect and torch read the environment when they are imported, which is after this.
set_defaults()
keep_private(cache_dir)
