"""Devices, what they have left, what happens when memory runs out, and signals to stop."""
