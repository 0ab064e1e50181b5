"""A prompt, the prompts file, the options, and what they come to for one video."""
