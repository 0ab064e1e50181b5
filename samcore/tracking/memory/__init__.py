"""What is remembered of the past: one file a memory policy."""
