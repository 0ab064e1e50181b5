"""A run's work in progress: its folder, and how it fits into the memory that there is."""
