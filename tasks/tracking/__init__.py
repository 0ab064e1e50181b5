"""One chunk, tracked in as much memory as there is."""
