"""What is asked of a run over pictures, and how it is laid out."""
