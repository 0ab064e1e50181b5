"""Watching streams: what is asked, and what it comes to."""
