"""Names in any script: what is part of a letter, and what does not belong into a name."""

import re
import unicodedata

JOINERS = frozenset("\u200c\u200d")
"""They tell neighbours whether to join, in Persian, Hindi or emoji, and are not seen themselves."""


def continues_letter(character: str) -> bool:
    """Whether a character is a part of the letter before it: an accent, a vowel sign, a joiner."""
    return character in JOINERS or unicodedata.category(character).startswith("M")


def keeps_one_line(text: str) -> bool:
    """Whether there is no line break, control character, or other one that is not printed."""
    return "".join(one for one in text if one not in JOINERS).isprintable()


def shorten(text: str, most: int) -> str:
    """The text in at most so many characters, with two dots for what is left out; no letter is
    parted from its accents."""
    if len(text) <= most:
        return text
    end = most - 2
    while end > 0 and (continues_letter(text[end]) or text[end - 1] in JOINERS):
        end -= 1
    return text[:end] + ".."


def file_name(text: str) -> str:
    """The text as a part of a file's name: letters with their marks, digits, dots, dashes and
    underscores, with an underscore in the place of anything else; may be empty."""
    kept = (one if one in "._-" or one.isalnum() or continues_letter(one) else " " for one in text)
    return "_".join("".join(kept).split()).strip("._")


def natural_order(text: str) -> list[tuple[int, str]]:
    """A key to sort names by in which `2.png` comes before `10.png`."""
    # "a12b" -> a, 12, b; text and numbers alternate, so that like is compared with like
    parts = re.split(r"([0-9]+)", text.casefold())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def is_utf8(text: str) -> bool:
    """Whether a text can be written as UTF-8: a name on a disk need not be such."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
