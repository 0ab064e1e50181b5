"""Text in pictures, in any script."""

import logging
from fractions import Fraction

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen

from samcore import lettering
from samcore.drawing import draw_masks, object_colour
from samcore.lettering import draw_line, has_font
from samcore.masks.frame_masks import FrameMasks
from samcore.masks.table import MaskWriter
from samcore.text import shorten
from samcore.video import VideoWriter, open_video
from tests.samcore.viewing import write_overlay

HEIGHT, WIDTH = 144, 192

FRENCH, HINDI, FAMILY = "cafe\u0301", "\u0939\u093f\u0928\u094d\u0926\u0940", "a\u200db"


def picture(height=HEIGHT, width=WIDTH):
    return np.full((height, width, 3), 120, np.uint8)


def block(height=HEIGHT, width=WIDTH):
    mask_hw = np.zeros((height, width), bool)
    mask_hw[height // 2 : height // 2 + 40, width // 4 : width // 4 + 40] = True
    return mask_hw


def forget_fonts():
    """As in a new process."""
    for cached in (lettering._system_fonts, lettering._first_font, lettering._runs, draw_line):
        cached.cache_clear()


@pytest.fixture
def system_fonts(tmp_path, monkeypatch):
    """A machine whose only fonts lie in this folder; forget what was found before."""

    forget_fonts()
    monkeypatch.setattr(lettering, "_FOLDERS", (str(tmp_path / "no such"), str(tmp_path / "fonts")))
    (tmp_path / "fonts" / "deep").mkdir(parents=True)
    yield tmp_path / "fonts" / "deep"
    forget_fonts()


@pytest.fixture
def small_video(tmp_path):
    """5 gray frames."""
    with VideoWriter(tmp_path / "v.mp4", width=WIDTH, height=HEIGHT, rate=Fraction(25)) as writer:
        for _ in range(5):
            writer.write(picture())
    return open_video(tmp_path / "v.mp4")


def make_font(path, letters):
    """A font that draws a square for each of these letters, and a bar for any other."""

    def glyph(width):
        pen = TTGlyphPen(None)
        pen.moveTo((50, 0))
        for point in ((50, 700), (width, 700), (width, 0)):
            pen.lineTo(point)
        pen.closePath()
        return pen.glyph()

    names = [".notdef", *(f"u{ord(one):x}" for one in letters)]
    font = FontBuilder(1000)
    font.setupGlyphOrder(names)
    font.setupCharacterMap({ord(one): f"u{ord(one):x}" for one in letters})
    font.setupGlyf({name: glyph(100 if name == ".notdef" else 900) for name in names})
    font.setupHorizontalMetrics(dict.fromkeys(names, (1000, 50)))
    font.setupHorizontalHeader(ascent=800, descent=-200)
    font.setupNameTable({"familyName": "Squares", "styleName": "Regular"})
    font.setupOS2()
    font.setupPost()
    font.save(path)


@pytest.mark.parametrize(
    "text",
    ["Größe", "собака", "ελληνικά", "Łódź", "Tiếng Việt", "כלב", "كلب", FRENCH, FAMILY, "✓ 50 %"],
)
@pytest.mark.usefixtures("system_fonts")
def test_common_letters_need_no_font_of_the_system(text):
    """The font that comes along has them: each is drawn, and looks unlike the others."""
    assert has_font(text)
    seen = [one for one in text if one.isalpha()]
    drawn = {draw_line(one, 24).ink_hw.tobytes() for one in seen}
    assert len(drawn) == len(set(seen))


def test_an_accent_of_two_characters_is_drawn_like_that_of_one():
    """A file's name from macOS has its accents apart."""
    np.testing.assert_array_equal(draw_line(FRENCH, 24).ink_hw, draw_line("café", 24).ink_hw)


def test_a_font_of_the_system_is_found(system_fonts):
    """Letters that our own font lacks come from the first of the system's that has all of them;
    damaged fonts and such as lack one are passed over."""
    assert not has_font("犬猫")
    (system_fonts / "a.ttf").write_bytes(b"no font")
    make_font(system_fonts / "b.ttf", "犬")
    make_font(system_fonts / "c.otf", "犬猫")
    forget_fonts()

    assert lettering._runs("3 犬猫 dog")[1] == (system_fonts / "c.otf", "犬猫 ")
    ink = draw_line("犬猫", 40).ink_hw
    assert (ink > 200).mean() > 0.7  # two squares, not two bars
    # beside letters that this font does not have
    assert draw_line("3 犬猫 dog", 40).ink_hw.shape[1] > ink.shape[1] + 80


def test_a_mixed_word_takes_several_fonts(system_fonts):
    """Where no font has a whole word, each letter with its marks comes from one that has it."""
    make_font(system_fonts / "b.ttf", "犬")
    forget_fonts()

    assert [part for _, part in lettering._runs("é犬o\u0323\u0302k")] == ["é", "犬", "ộk"]
    assert not has_font("犬猫")


def test_a_label_that_no_font_has_is_said_once(system_fonts, small_video, tmp_path, caplog):
    """The object's number is shown alone, never a part of its name, and one line says why."""
    table, one = tmp_path / "masks.parquet", np.ones(1, np.float32)
    with MaskWriter(table, height=HEIGHT, width=WIDTH) as writer:
        for frame in range(5):
            writer.write(FrameMasks(frame, (1,), block()[None], one, one, one > 2), pts=frame)
    labels = {1: "dog 犬", 2: "猫", 3: "Größe"}
    with caplog.at_level(logging.WARNING):
        write_overlay(small_video, table, tmp_path / "overlay.mp4", labels=labels)

    (line,) = [one.getMessage() for one in caplog.records]
    assert line.startswith("no font of this machine has the letters of 'dog 犬' (object 1, 2): ")
    masks = {1: block()}
    alone = draw_masks(picture(), masks)
    np.testing.assert_array_equal(draw_masks(picture(), masks, labels=labels), alone)


@pytest.mark.parametrize("label", ["Größe", "собака", FRENCH])
def test_a_label_has_all_its_letters(label):
    """What is drawn is the text's own picture, not what is left of it without some letters."""
    masks = {1: block()}
    ground = np.all(draw_masks(picture(), masks, labels={1: label}) == object_colour(1), axis=2)
    width = np.ptp(np.flatnonzero(ground[:71].any(axis=0))) + 1
    size, gap = round(0.4 * 29), round(0.4 * 9)
    parts = [draw_line(part, size).ink_hw.shape[1] for part in ("1", label)]
    assert width == sum(parts) + gap + 4


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("short", "short"),
        ("a" * 30, "a" * 8 + ".."),
        ("aaaaaaae\u0301\u0302xxx", "aaaaaaa.."),
        (HINDI * 3, (HINDI * 3)[:8] + ".."),
        ("\u0301" * 30, ".."),
    ],
)
def test_no_letter_is_parted_from_its_accents(text, wanted):
    """A long text is cut between letters, not within one."""
    assert shorten(text, 10) == wanted


def test_no_room_for_a_label():
    """A picture smaller than the text is drawn on as far as it goes."""
    drawn = draw_masks(picture(6, 5), {1: block(6, 5)}, labels={1: "Größe"})
    assert drawn.shape == (6, 5, 3)
    assert object_colour(1) in {tuple(pixel) for pixel in drawn.reshape(-1, 3)}
