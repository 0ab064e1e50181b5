"""What tasks share that deal with units of work of one run."""
