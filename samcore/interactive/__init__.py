"""What a person at a screen needs of a video: pictures, masks of clicks, and prompts that stay."""
