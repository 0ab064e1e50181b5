"""What a person asks for, and what it comes to for one video."""
