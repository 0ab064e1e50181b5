"""Files and locks on this machine's disk."""
