"""Work in progress: where a run is, and its mirror in a bucket."""
