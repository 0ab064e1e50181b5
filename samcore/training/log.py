"""The log of a training run, and its curve as a picture."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from samcore.disk.atomic import storage_error
from samcore.training.checkpoint import write_file

LOG_NAME = "log.jsonl"
CURVE_NAME = "curve.json"
PICTURE_NAME = "curve.png"

_COLOURS_BGR = (
    *((180, 110, 30), (40, 130, 40), (40, 40, 200), (150, 60, 150), (30, 150, 190)),
    *((200, 190, 20), (60, 70, 110), (190, 110, 230), (120, 120, 120), (90, 200, 130)),
)
_LEFT, _TOP, _WIDTH, _HEIGHT = 60, 30, 720, 360


class TrainingLog:
    """Lines of JSON, one a record; a resumed run drops those of steps that it does again."""

    def __init__(self, folder: Path, *, first_step: int, keep: bool = True) -> None:
        """Read what is there.

        Args:
            folder: Where the log is.
            first_step: The run goes on from this step; what the log says of later ones is dropped.
            keep: Whether this process writes the log. Of several that train together one does; the
                others only read.
        """
        self._path = folder / LOG_NAME
        self._folder = folder
        self.records: list[dict[str, Any]] = []
        """All records so far, those of earlier sittings too."""
        if self._path.exists():
            lines = self._path.read_text(encoding="utf-8").splitlines()
            # A process killed in the middle of a line leaves a last line that is no JSON.
            known = [record for line in lines if (record := _parse(line)) is not None]
            self.records = [r for r in known if r.get("step", 0) <= first_step]
        if not keep:
            return
        text = "".join(json.dumps(record) + "\n" for record in self.records)
        write_file(self._path, text.encode())

    def add(self, record: dict[str, Any]) -> None:
        """Append one record.

        Raises:
            StorageError: The log cannot be written.
        """
        self.records.append(record)
        try:
            with self._path.open("a", encoding="utf-8") as out:
                out.write(json.dumps(record) + "\n")
        except OSError as error:
            raise storage_error(self._path, error, doing="write") from error

    def write_curve(self) -> None:
        """Write the validation curve as JSON and as a picture."""
        points = [record for record in self.records if record.get("kind") == "validation"]
        write_file(self._folder / CURVE_NAME, (json.dumps(points, indent=1) + "\n").encode())
        if points:
            write_file(self._folder / PICTURE_NAME, _draw(points))


def _parse(line: str) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except json.JSONDecodeError:
        return None
    return record if isinstance(record, dict) else None


def _draw(points: Sequence[dict[str, Any]]) -> bytes:
    """A PNG of J over steps, a line for each kind of scene."""
    picture = np.full((_HEIGHT + 80, _LEFT + _WIDTH + 160, 3), 255, np.uint8)
    last = max(point["step"] for point in points) or 1

    def at(step: float, j: float) -> tuple[int, int]:
        return int(_LEFT + _WIDTH * step / last), int(_TOP + _HEIGHT * (1 - j))

    for tenth in range(0, 11, 2):
        cv2.line(picture, at(0, tenth / 10), at(last, tenth / 10), (225, 225, 225), 1)
        _label(picture, f"{tenth / 10:.1f}", (20, at(0, tenth / 10)[1] + 4), (90, 90, 90))
    _label(picture, f"J on validation scenes, steps 0 to {last}", (_LEFT, _TOP - 12), (40, 40, 40))
    names = sorted({name for point in points for name in point["scores"]})
    for k, name in enumerate(names):
        colour = _COLOURS_BGR[k % len(_COLOURS_BGR)]
        line = [at(p["step"], p["scores"][name]["j"]) for p in points if name in p["scores"]]
        cv2.polylines(picture, [np.array(line, np.int32)], False, colour, 2, cv2.LINE_AA)
        _label(picture, name, (_LEFT + _WIDTH + 12, _TOP + 20 + 22 * k), colour)
    done, png = cv2.imencode(".png", picture)
    if not done:
        raise RuntimeError("OpenCV could not encode the curve as PNG")
    return bytes(png.tobytes())


def _label(
    picture: np.ndarray[Any, Any], text: str, at: tuple[int, int], colour: tuple[int, int, int]
) -> None:
    cv2.putText(picture, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, 1, cv2.LINE_AA)
