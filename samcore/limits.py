"""How large what is asked for may be: a stranger's video must not take the machine down."""

from dataclasses import dataclass

from samcore.errors import InputError


@dataclass(frozen=True, slots=True)
class Limits:
    """The largest inputs that are taken. The defaults leave room for any footage there is."""

    max_video_bytes: int = 2 * 10**12
    """Size of a video file, or of a folder's images together."""
    max_frames: int = 20_000_000
    """Frames of a video: a week at 30 a second."""
    max_pixels: int = 8192 * 8192
    """Pixels of one frame, width times height."""
    max_objects: int = 10_000
    """Objects in one request."""
    max_points: int = 1_000
    """Points of one object on one frame; the model's time grows with their square."""
    max_prompts_bytes: int = 16 * 1024 * 1024
    """Size of a prompts file; masks are files of their own."""
    max_state_bytes: int = 64 * 10**9
    """Size of a tracker's state: about 4 MB an object."""

    def check_video_bytes(self, size: int, *, name: str) -> None:
        """Refuse a video file that is too large, before it is fetched or read.

        Raises:
            InputError: Names the limit and how to raise it.
        """
        self._check("max_video_bytes", size, f"{name!r} has {size:,} bytes")

    def check_frames(self, count: int, *, name: str, more: bool = False) -> None:
        """Refuse a video that is too long.

        Args:
            count: Its frames.
            name: The video.
            more: Whether counting stopped there.

        Raises:
            InputError: Names the limit and how to raise it.
        """
        self._check("max_frames", count, f"{name!r} has {count:,} frames{' or more' * more}")

    def check_size(self, width: int, height: int, *, name: str) -> None:
        """Refuse pictures that are too large.

        Raises:
            InputError: Names the limit and how to raise it.
        """
        pixels = width * height
        self._check("max_pixels", pixels, f"{name!r} is {width} x {height}, {pixels:,} pixels")

    def check_objects(self, count: int) -> None:
        """Refuse too many objects.

        Raises:
            InputError: Names the limit and how to raise it.
        """
        self._check("max_objects", count, f"{count:,} objects")

    def check_points(self, count: int, *, name: str) -> None:
        """Refuse too many points of one object on one frame.

        Raises:
            InputError: Names the limit and how to raise it.
        """
        self._check("max_points", count, f"{name} has {count:,} points")

    def check_prompts_bytes(self, size: int, *, name: str, more: bool = False) -> None:
        """Refuse a prompts file that is too large, before it is parsed.

        Args:
            size: Its size.
            name: What it is called.
            more: Whether reading stopped there.

        Raises:
            InputError: Names the limit and how to raise it.
        """
        self._check("max_prompts_bytes", size, f"{name} has {size:,} bytes{' or more' * more}")

    def _check(self, limit: str, got: int, said: str) -> None:
        most = int(getattr(self, limit))
        if got > most:
            raise InputError(
                f"{said}; the limit is {most:,}. If that is meant, raise it with "
                f"LONGTAKE_{limit.upper()}"
            )


DEFAULT_LIMITS = Limits()
