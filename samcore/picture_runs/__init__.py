"""Many pictures in one run: shards of a list, done one by one, and published as one result."""
