"""How a video is cut into chunks, and how well they agree where they meet."""
