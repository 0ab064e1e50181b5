"""Devices, what they have left, and what happens when memory runs out."""
