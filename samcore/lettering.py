"""Text drawn into pictures, in a font that has its letters."""

import functools
import itertools
import os
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, features

from samcore.text import JOINERS, continues_letter

_OWN = Path(__file__).parent / "fonts" / "DejaVuSans.ttf"
"""Latin, Greek, Cyrillic, Hebrew, Arabic and more: the same on every machine, so it comes first."""
_FOLDERS = (
    "/usr/share/fonts",
    "/usr/local/share/fonts",
    "~/.local/share/fonts",
    "~/.fonts",
    "/System/Library/Fonts",
    "/Library/Fonts",
    "~/Library/Fonts",
)
"""Where systems keep their fonts."""
_SUFFIXES = frozenset({".ttf", ".otf", ".ttc"})
_MAX_FONTS = 5000
_STYLES = ("bold", "italic", "oblique", "light", "thin", "black", "condensed", "mono", "serif")
_CHECK_SIZE = 24
_NO_CHARACTER = "\U0010ffff"


@dataclass(frozen=True, slots=True, eq=False)
class Lettering:
    """A text as it is drawn."""

    ink_hw: NDArray[np.uint8]
    """How much of each pixel is ink, from 0 to 255; 0 x 0 for no text."""
    above: int
    """Rows of it that lie above the baseline."""

    @property
    def below(self) -> int:
        """Rows of it that lie below the baseline."""
        height: int = self.ink_hw.shape[0]
        return height - self.above


def has_font(text: str) -> bool:
    """Whether some font of this machine, or several of them, have every letter of the text."""
    return _runs(text) is not None


@functools.lru_cache(maxsize=1024)
def draw_line(text: str, size: int) -> Lettering:
    """Draw a text on one line, each word in the first font that has its letters.

    Args:
        text: What to draw; nothing if `has_font` says no.
        size: Pixels of the letters, with what reaches above and below them.
    """
    pieces = [(_open(path, size), part) for path, part in _runs(text) or ()]
    boxes, x = [], 0.0
    for font, part in pieces:
        left, top, right, bottom = font.getbbox(part, anchor="ls", direction=_direction())
        boxes.append((round(x) + left, top, round(x) + right, bottom))
        x += font.getlength(part, direction=_direction())
    if not boxes:
        return Lettering(np.zeros((0, 0), np.uint8), 0)
    lefts, tops, rights, bottoms = (tuple(map(int, side)) for side in zip(*boxes, strict=True))
    left, top = min(0, *lefts), min(tops)
    image = Image.new("L", (max(*rights, round(x)) - left, max(bottoms) - top))
    draw = ImageDraw.Draw(image)
    x = 0.0
    for font, part in pieces:
        place = (round(x) - left, -top)
        draw.text(place, part, fill=255, font=font, anchor="ls", direction=_direction())
        x += font.getlength(part, direction=_direction())
    ink_hw = np.array(image, dtype=np.uint8)
    ink_hw.setflags(write=False)
    return Lettering(ink_hw, -top)


@functools.cache
def _direction() -> str | None:
    """Numbers stay left of a name in Hebrew or Arabic; some builds of Pillow know no such thing."""
    return "ltr" if features.check("raqm") else None


@functools.lru_cache(maxsize=1024)
def _runs(text: str) -> tuple[tuple[Path, str], ...] | None:
    """The text in pieces, each with the font that has its letters; None if none has some letter."""
    pieces: list[tuple[Path, str]] = []
    # Spaces are words, too: every font has one.
    for is_space, letters in itertools.groupby(unicodedata.normalize("NFC", text), str.isspace):
        word = "".join(letters)
        whole = pieces[-1][0] if is_space and pieces else _find_font(word)
        # A word stays in one font where it can: letters of two fonts do not join.
        parts = [(whole, word)] if whole else [(_find_font(one), one) for one in _clusters(word)]
        for path, part in parts:
            if path is None:
                return None
            if pieces and pieces[-1][0] == path:
                part = pieces.pop()[1] + part
            pieces.append((path, part))
    return tuple(pieces)


def _clusters(word: str) -> Iterator[str]:
    """Letters with the marks and joiners that belong to them."""
    cluster = ""
    for one in word:
        if cluster and not continues_letter(one) and cluster[-1] not in JOINERS:
            yield cluster
            cluster = ""
        cluster += one
    if cluster:
        yield cluster


def _find_font(word: str) -> Path | None:
    """The first font that has all letters of a word; the own one before those of the system."""
    seen = frozenset(one for one in word if unicodedata.category(one) not in ("Cf", "Zs"))
    # Selectors say how to draw the letter before them, which is up to the font.
    seen -= {chr(code) for code in range(0xFE00, 0xFE10)}
    return _first_font(seen)


@functools.lru_cache(maxsize=4096)
def _first_font(letters: frozenset[str]) -> Path | None:
    fonts = itertools.chain((_OWN,), _system_fonts())
    return next((path for path in fonts if all(_has(path, one) for one in letters)), None)


@functools.lru_cache(maxsize=1 << 16)
def _has(path: Path, one: str) -> bool:
    """Whether a font has a letter: it draws something, and not what stands for a missing one."""
    try:
        font = _open(path, _CHECK_SIZE, ImageFont.Layout.BASIC)
        drawn = _drawn(font, one)
        return drawn is not None and drawn != _drawn(font, _NO_CHARACTER)
    except (OSError, ValueError):  # damaged, or of a kind without outlines
        return False


def _drawn(font: ImageFont.FreeTypeFont, one: str) -> bytes | None:
    """A letter's picture; None if there is nothing to see."""
    image = Image.new("L", (4 * _CHECK_SIZE, 4 * _CHECK_SIZE))
    middle = (2 * _CHECK_SIZE, 2 * _CHECK_SIZE)
    ImageDraw.Draw(image).text(middle, one, fill=255, font=font, anchor="ls")
    return image.tobytes() if image.getbbox() else None


@functools.lru_cache(maxsize=64)
def _open(path: Path, size: int, layout: ImageFont.Layout | None = None) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(path), size, layout_engine=layout)


@functools.cache
def _system_fonts() -> tuple[Path, ...]:
    """The system's fonts: plain ones first, then by name, so that it is the same each time."""
    return tuple(sorted(itertools.islice(_walk_fonts(), _MAX_FONTS), key=_plain_first))


def _walk_fonts() -> Iterator[Path]:
    for folder in _FOLDERS:
        for place, folders, names in os.walk(os.path.expanduser(folder)):
            folders.sort()
            for name in sorted(names):
                stem, suffix = os.path.splitext(name)
                # macOS has one with a box for each letter that there is.
                if suffix.lower() in _SUFFIXES and stem != "LastResort":
                    yield Path(place, name)


def _plain_first(path: Path) -> tuple[bool, str]:
    return any(style in path.stem.lower() for style in _STYLES), str(path)
