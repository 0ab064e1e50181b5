"""Everything that talks to a Prefect server."""
