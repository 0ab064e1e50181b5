"""Which kind of ground truth a path is."""

from pathlib import Path

from samcore.errors import InputError
from samcore.evaluation.pairing import TrackedVideo
from samcore.evaluation.truth import GroundTruth
from samcore.evaluation.truth_files import CocoVideo, MotsText
from samcore.evaluation.truth_images import TruthImages

_WANTED = "wanted a folder of PNGs (DAVIS or MOTS), a .txt file (MOTS) or a .json file (COCO video)"


_ROOTS = ("Annotations", "instances")
"""Folders of DAVIS and of MOTS in which those of the sequences lie."""


def open_ground_truth(
    path: Path,
    *,
    sequence: str | None = None,
    first_frame: int | None = None,
    video: TrackedVideo | None = None,
) -> GroundTruth:
    """Open ground truth of any kind; by what it is, not by what it is called.

    Args:
        path: A folder of PNGs, or of folders of PNGs, or all of DAVIS or MOTS; a MOTS text file; a
            COCO-video JSON file.
        sequence: Which folder in it, or which video of the JSON file; None if there is one only.
        first_frame: The number that the ground truth gives to the video's first frame; None is
            what its format usually has, or pairs by the names of pictures where both have names.
        video: What was tracked; None does not check that every annotated frame is in it.

    Raises:
        InputError: Missing, of no known kind, with several sequences and none chosen, or with
            frames that are not in the video.
    """
    if path.is_dir():
        return TruthImages(_folder_of(path, sequence), first_frame=first_frame, video=video)
    if not path.is_file():
        raise InputError(f"there is no ground truth at {path}: {_WANTED}")
    if path.suffix.lower() == ".json":
        return CocoVideo(path, sequence=sequence, first_frame=first_frame, video=video)
    if path.suffix.lower() == ".txt":
        return MotsText(path, first_frame=first_frame, video=video)
    raise InputError(f"{path} is no ground truth: {_WANTED}")


def _folder_of(path: Path, sequence: str | None) -> Path:
    """The folder with the pictures themselves."""
    if _has_pictures(path):
        return path
    path = next((path / name for name in _ROOTS if (path / name).is_dir()), path)
    folders = _folders_in(path)
    if len(folders) == 1 and not _has_pictures(folders[0]) and _folders_in(folders[0]):
        path = folders[0]  # DAVIS has one for each resolution
        folders = _folders_in(path)
    if sequence is not None:
        for folder in folders:
            if folder.name == sequence:
                return folder
    elif len(folders) == 1:
        return folders[0]
    if not folders:
        raise InputError(f"there is no PNG in {path}: {_WANTED}")
    known = ", ".join(folder.name for folder in folders[:10])
    more = ", ..." if len(folders) > 10 else ""
    chosen = "choose one with --sequence" if sequence is None else f"none is {sequence!r}"
    count = f"{len(folders)} sequence{'' if len(folders) == 1 else 's'}"
    raise InputError(f"{path} has {count} ({known}{more}): {chosen}")


def _has_pictures(folder: Path) -> bool:
    return next(folder.glob("*.png"), None) is not None


def _folders_in(folder: Path) -> list[Path]:
    return [inner for inner in sorted(folder.iterdir()) if inner.is_dir()]
