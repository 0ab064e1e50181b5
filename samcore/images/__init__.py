"""Single pictures: read them, and segment them by prompts, by text, or everything in them."""
