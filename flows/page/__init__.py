"""The page of `longtake open`: one window on a video, to point at objects and to judge masks."""
