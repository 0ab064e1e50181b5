"""Files that are written whole, their digests, and downloads."""
