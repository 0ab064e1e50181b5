"""Work in progress: the run's folder, its records, and their mirror in a bucket."""
