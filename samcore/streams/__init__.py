"""Tracking without an end: frames from a stream, chunks that close by time, results that roll."""
