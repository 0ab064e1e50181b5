"""Durations as people give them: 45s, 10m, 1h."""

import re

_DURATION = re.compile(r"(\d{1,9})(s|m|h|d)")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def parse_duration(text: str) -> int:
    """Seconds.

    Raises:
        ValueError: It is none, or 0.
    """
    match = _DURATION.fullmatch(text)
    seconds = int(match[1]) * _UNITS[match[2]] if match else 0
    if not 0 < seconds <= 366 * _UNITS["d"]:
        raise ValueError(f"wanted a duration such as 45s, 10m, 1h or 1d, got {text[:40]!r}")
    return seconds
