"""Videos to read, wherever they lie, and the cache of what was downloaded."""
