"""What files are called in results: by what tells them apart, and never two alike."""

import re
from collections.abc import Sequence, Set
from pathlib import PurePosixPath

from samcore.text import keeps_one_line

_MAX_PART_BYTES = 200
"""File systems take 255; an output adds an ending."""
_ENDINGS = (".jpg", ".png")
"""Of the files that are made of pictures."""
_FORBIDDEN = re.compile(r'[\\:*?"<>|]')


def output_names(places: Sequence[str]) -> list[str]:
    """A name for each place: its path below the folder that all have in common.

        /data/cats/1.jpg   cats/1.jpg
        /data/dogs/1.jpg   dogs/1.jpg
        /data/dogs/1.png   dogs/1.png

    A name is a relative path that every file system takes: no part begins with a dot, and what
    cannot be printed is an underscore. Names differ in more than upper and lower case; one that
    would not gets a number, by its place in the list.

    Args:
        places: Absolute paths and `s3://` addresses, each once.
    """
    parts = [tuple(place.replace("s3://", "s3:/", 1).strip("/").split("/")) for place in places]
    common = _common([one[:-1] for one in parts])
    names: list[str] = []
    taken: set[str] = set()
    for one in parts:
        wanted = "/".join(_clean(part) for part in one[common:])
        name, number = wanted, 1
        while name.casefold() in taken:
            number += 1
            path = PurePosixPath(wanted)
            name = str(path.with_name(f"{path.stem}-{number}{path.suffix}"))
        taken.add(name.casefold())
        names.append(name)
    return names


def stable_names(places: Sequence[tuple[str, str]]) -> list[str]:
    """A name for each place, which stays when others are added after it: its path below the folder
    that it was found in.

        /data/tapes/new/1.mp4, found in /data/tapes   new/1.mp4
        /data/other/2.mp4, named itself               2.mp4
        /data/third/2.mp4, named itself               2-2.mp4

    As with `output_names`, every file system takes a name; no two are alike, and none lies in a
    folder that is called as another one. The first one of several keeps its name.

    Args:
        places: Absolute paths and addresses, each with the folder or prefix.
    """
    names: list[str] = []
    taken: set[str] = set()
    for place, root in places:
        below = place.removeprefix(root.rstrip("/") + "/") if place.startswith(root) else ""
        path = (below if below and below != place else place.rpartition("/")[2]).partition("?")[0]
        parts = [_clean(part) for part in path.split("/") if part] or ["_"]
        name, number = "/".join(parts), 1
        while (place_of_number := _taken_part(name, taken)) is not None:
            number += 1
            numbered = list(parts)
            part = PurePosixPath(parts[place_of_number])
            numbered[place_of_number] = f"{part.stem}-{number}{part.suffix}"
            name = "/".join(numbered)
        taken.add(name.casefold())
        taken.update(f"{folder}/".casefold() for folder in PurePosixPath(name).parents)
        names.append(name)
    return names


def _taken_part(name: str, taken: Set[str]) -> int | None:
    """Which part of a name needs a number, since a folder of that name is another one's (the last
    part), holds one (too), or lies in one (the first part); None if it is free."""
    key = name.casefold()
    if any(str(folder) in taken for folder in PurePosixPath(key).parents):
        return 0
    return -1 if key in taken or f"{key}/" in taken else None


def output_stems(names: Sequence[str]) -> list[str]:
    """The names without their endings, for files that are made of them; the whole name where two
    would be alike, or a folder is called as such a file would be.

        cats/1.jpg   cats/1
        dogs/1.jpg   dogs/1.jpg
        dogs/1.png   dogs/1.png
    """
    folders = {str(folder).casefold() for name in names for folder in PurePosixPath(name).parents}
    bare = [str(PurePosixPath(name).with_suffix("")) for name in names]
    count: dict[str, int] = {}
    for key in (*(one.casefold() for one in bare), *(one.casefold() for one in names)):
        count[key] = count.get(key, 0) + 1
    stems: list[str] = []
    for stem, name in zip(bare, names, strict=True):
        free = count[stem.casefold()] == 1
        chosen = stem if free and not _in_the_way(stem, folders) else name
        while _in_the_way(chosen, folders):
            chosen += "_"
        stems.append(chosen)
    return stems


def _in_the_way(stem: str, folders: Set[str]) -> bool:
    return any(f"{stem}{ending}".casefold() in folders for ending in _ENDINGS)


def _common(folders: Sequence[tuple[str, ...]]) -> int:
    """How many leading parts all have in common."""
    first, last = min(folders), max(folders)
    for depth, (one, other) in enumerate(zip(first, last, strict=False)):
        if one != other:
            return depth
    return min(len(first), len(last))


def _clean(part: str) -> str:
    kept = "".join(one if keeps_one_line(one) else "_" for one in _FORBIDDEN.sub("_", part))
    kept = kept.encode("utf-8", "replace").decode()
    if kept.startswith("."):
        kept = "_" + kept[1:]
    path = PurePosixPath(kept or "_")
    stem = path.stem.encode()[: _MAX_PART_BYTES - len(path.suffix.encode())]
    return (
        stem.decode("utf-8", "ignore") + path.suffix
        if len(kept.encode()) > _MAX_PART_BYTES
        else kept
    )
