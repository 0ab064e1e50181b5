"""Videos to read, wherever they lie: from a copy in the cache, or from there."""
