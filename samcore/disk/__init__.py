"""Files that are written whole, their digests, locks, downloads, and what may be removed when."""
