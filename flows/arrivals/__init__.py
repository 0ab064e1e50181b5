"""Videos that arrive in a bucket, and the runs that they start."""
