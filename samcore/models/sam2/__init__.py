"""The family of the sam2 package: its only door."""
