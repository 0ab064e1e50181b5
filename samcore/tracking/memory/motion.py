"""Where an object's box will be on the next frame: a Kalman filter of constant speed.

The filter of DeepSORT and ByteTrack (`kalman_filter.py` there), which SAMURAI uses. A state is the
box's centre, aspect and height, and the speed of each. The four never mix: transition, measurement
and noise are diagonal in them. So there are four filters of two numbers each, in plain float64 on
the host, with the same bits on every machine.
"""

from dataclasses import dataclass

Box = tuple[float, float, float, float]
"""Left, top, right, bottom, as parts of the picture's sides; zeros where there is nothing."""

LEAST_HEIGHT = 1 / 1024
"""Height of what has none: a pixel of SAM 2's input."""
_POSITION, _SPEED = 1 / 20, 1 / 160
"""Deviation of a step, in heights of the box."""
_ASPECT, _ASPECT_SPEED, _ASPECT_MEASURED = 1e-2, 1e-5, 1e-1


@dataclass(frozen=True, slots=True)
class Motion:
    """The filter after some frames."""

    mean_4: tuple[tuple[float, float], ...]
    """Value and speed of centre x, centre y, aspect (width by height), height."""
    covariance_4: tuple[tuple[float, float, float], ...]
    """Of each its variance, covariance with the speed, and variance of the speed."""

    @classmethod
    def at(cls, box: Box) -> "Motion":
        """A filter that has seen one box."""
        values = _measure(box)
        height = values[3]
        far, fast = 2 * _POSITION * height, 10 * _SPEED * height
        spread = ((far, fast), (far, fast), (_ASPECT, _ASPECT_SPEED), (far, fast))
        return cls(
            tuple((value, 0.0) for value in values),
            tuple((place**2, 0.0, speed**2) for place, speed in spread),
        )

    def ahead(self) -> "Motion":
        """One frame later, with nothing seen of it."""
        height = self.mean_4[3][0]
        far, fast = _POSITION * height, _SPEED * height
        noise = ((far, fast), (far, fast), (_ASPECT, _ASPECT_SPEED), (far, fast))
        return Motion(
            tuple((value + speed, speed) for value, speed in self.mean_4),
            tuple(
                (p + 2 * c + v + place**2, c + v, v + speed**2)
                for (p, c, v), (place, speed) in zip(self.covariance_4, noise, strict=True)
            ),
        )

    def corrected(self, box: Box) -> "Motion":
        """The same frame, once a box was seen on it."""
        far = _POSITION * self.mean_4[3][0]
        noise = (far, far, _ASPECT_MEASURED, far)
        means: list[tuple[float, float]] = []
        covariances: list[tuple[float, float, float]] = []
        for (value, speed), (p, c, v), seen, deviation in zip(
            self.mean_4, self.covariance_4, _measure(box), noise, strict=True
        ):
            spread = p + deviation**2
            surprise = (seen - value) / spread
            means.append((value + p * surprise, speed + c * surprise))
            covariances.append((p - p * p / spread, c - p * c / spread, v - c * c / spread))
        return Motion(tuple(means), tuple(covariances))

    @property
    def box(self) -> Box:
        """Where it is."""
        x, y, aspect, height = (value for value, _ in self.mean_4)
        width = aspect * height
        return (x - width / 2, y - height / 2, x + width / 2, y + height / 2)

    def numbers(self) -> list[float]:
        """All of it, for a file."""
        return [number for row in (*self.mean_4, *self.covariance_4) for number in row]

    @classmethod
    def of(cls, numbers: list[float]) -> "Motion":
        """What `numbers` was taken of."""
        if len(numbers) != 20:
            raise ValueError(f"a filter has 20 numbers, got {len(numbers)}")
        found = [float(number) for number in numbers]
        return cls(
            tuple((found[i], found[i + 1]) for i in range(0, 8, 2)),
            tuple((found[i], found[i + 1], found[i + 2]) for i in range(8, 20, 3)),
        )


def box_iou(a: Box, b: Box) -> float:
    """Intersection over union; 0 where one of them is empty."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    inter = width * height
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter
    return inter / union


def _measure(box: Box) -> tuple[float, float, float, float]:
    left, top, right, bottom = box
    height = bottom - top or LEAST_HEIGHT
    return (left + right) / 2, (top + bottom) / 2, (right - left) / height, height
