"""What makes a scene easy, medium or hard."""

from dataclasses import dataclass
from typing import Literal

Difficulty = Literal["easy", "medium", "hard"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a scene of one difficulty is drawn. Lengths are fractions of the picture's short side."""

    contrast: float
    """Strength of the background's texture, 0 to 1."""
    busy: float
    """Chance that the background carries stripes, checks or dots over its clouds."""
    pattern: float
    """Chance that a shape carries such a pattern, too."""
    speed: float
    """Motion per frame; 1 is about 1 % of the short side."""
    wander: tuple[float, float]
    """Least and greatest amplitude of a shape's wandering about its home."""
    homes: tuple[float, float]
    """Where homes lie, of the picture's width and height."""
    stays: bool
    """Shapes turn back before they leave the picture by more than a rim."""
    deform: float
    """Strength of the change of outline over time."""
    scale_swing: float
    """Greatest relative change of size over time."""
    pan: float
    """Greatest way of the camera from the middle."""
    zoom: float
    """Greatest relative change of the camera's zoom."""
    light: float
    """Greatest relative change of brightness over time."""
    cast: float
    """Greatest relative change of one colour channel against the others over time."""
    noise: float
    """Standard deviation of the sensor's noise, of 255."""
    exits: float
    """Chance that an object leaves the picture now and then, and returns."""
    late: float
    """Chance that an object other than the first is outside at the start."""
    elsewhere: bool
    """Return over another edge than the one an object left by."""
    bars: tuple[int, int]
    """Least and greatest number of bars in front of everything."""
    strangers: tuple[int, int]
    """Least and greatest number of moving shapes that are no object."""
    look_alike: float
    """Chance that a stranger copies the colours and the outline of an object, and that an object
    takes the colours of the one before it."""


RECIPES: dict[Difficulty, Recipe] = {
    # Shapes of clearly different colours on a soft background. They stay in the picture, and now
    # and then cross each other.
    "easy": Recipe(
        contrast=0.16, busy=0.0, pattern=0.15, speed=0.8, wander=(0.14, 0.34), homes=(0.3, 0.7),
        stays=True, deform=0.08,
        scale_swing=0.10, pan=0.02, zoom=0.0, light=0.05, cast=0.0, noise=2.0, exits=0.0,
        late=0.0, elsewhere=False, bars=(0, 0), strangers=(0, 0), look_alike=0.0,
    ),
    # Contacts and crossings, bars to pass behind, exits and returns by the same edge, a stranger
    # of another colour, a moving camera and changing light.
    "medium": Recipe(
        contrast=0.30, busy=0.35, pattern=0.4, speed=1.1, wander=(0.10, 0.26), homes=(0.18, 0.82),
        stays=False, deform=0.16,
        scale_swing=0.22, pan=0.06, zoom=0.04, light=0.15, cast=0.04, noise=4.0, exits=0.55,
        late=0.2, elsewhere=False, bars=(1, 2), strangers=(0, 1), look_alike=0.0,
    ),
    # All of it at once and faster: patterned background, look-alikes, several bars, returns by
    # another edge, strong changes of size, outline and light, noise.
    "hard": Recipe(
        contrast=0.5, busy=0.8, pattern=0.7, speed=1.6, wander=(0.14, 0.34), homes=(0.18, 0.82),
        stays=False, deform=0.26,
        scale_swing=0.35, pan=0.12, zoom=0.10, light=0.28, cast=0.08, noise=8.0, exits=0.7,
        late=0.25, elsewhere=True, bars=(2, 3), strangers=(1, 3), look_alike=0.6,
    ),
}  # fmt: skip
