"""What finds objects without a person: a detector a file, and their registry in `detector.py`."""
