"""Prompts while a person works on them."""

import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest

from samcore.errors import InputError, StateError, StorageError
from samcore.interactive.edits import EDIT
from samcore.interactive.project import PROJECT, Project, StaleRevision, open_project
from samcore.prompts.file import PromptFile, parse_prompts

RLE = {"size": [4, 4], "counts": [5, 3, 8]}


@pytest.fixture
def project(tmp_path: Path):
    """An empty project."""
    with open_project(tmp_path / "p", source="v.mp4") as opened:
        yield opened


def nothing_wrong(_: PromptFile) -> None:
    """No video to hold prompts against."""


def do(project: Project, kind: str, **values: object) -> int | None:
    """Make an edit of the present state."""
    edit = EDIT.validate_python({"kind": kind, **values})
    return project.edit(edit, revision=project.revision, check=nothing_wrong)


def saved(project: Project) -> dict[str, object]:
    """What a run would be given."""
    return json.loads(project.prompts_path.read_text())


def test_what_is_said_is_in_the_prompts_file(project: Project) -> None:
    """Clicks of an object on a frame go together; the file is one that `--prompts` takes."""
    obj_id = do(project, "point", id=None, frame=3, x=1.5, y=2.0)
    do(project, "point", id=obj_id, frame=3, x=3.0, y=2.0, label=0)
    do(project, "box", id=obj_id, frame=0, box=[0, 0, 2, 2])
    do(project, "rename", id=obj_id, label="dog")

    assert saved(project) == {
        "objects": [
            {
                "id": 1,
                "label": "dog",
                "prompts": [
                    {"frame": 0, "box": [0, 0, 2, 2]},
                    {"frame": 3, "points": [[1.5, 2.0, 1], [3.0, 2.0, 0]]},
                ],
            }
        ]
    }
    assert parse_prompts(project.prompts_path).labels == {1: "dog"}


def test_each_change_outlives_the_process(tmp_path: Path) -> None:
    """A process that is killed right after an edit has lost nothing, and what it did can be
    undone by the next one; its lock is gone with it."""
    work = tmp_path / "p"
    killed = subprocess.run(
        [
            sys.executable,
            "-c",
            "import os, signal, sys; from pathlib import Path\n"
            "from samcore.interactive.edits import EDIT\n"
            "from samcore.interactive.project import open_project\n"
            "with open_project(Path(sys.argv[1]), source='v') as project:\n"
            "    for x in (1, 2):\n"
            "        edit = EDIT.validate_python(dict(kind='point', frame=0, x=x, y=0))\n"
            "        project.edit(edit, revision=project.revision, check=lambda said: None)\n"
            "    os.kill(os.getpid(), signal.SIGKILL)\n",
            str(work),
        ],
        check=False,
    )

    with open_project(work, source="v") as project:
        found = [item.id for item in project.objects]
        project.undo(revision=project.revision)
        left = [item.id for item in project.objects]

    assert killed.returncode == -9
    assert (found, left) == ([1, 2], [1])


STEPS = [
    ("point", {"id": None, "frame": 0, "x": 1, "y": 1}),
    ("point", {"id": 1, "frame": 0, "x": 2, "y": 1, "label": 0}),
    ("box", {"id": 1, "frame": 2, "box": [0, 0, 1, 1]}),
    ("mask", {"id": 1, "frame": 2, "mask": RLE}),
    ("add_object", {"label": "second"}),
    ("rename", {"id": 2, "label": "other"}),
    ("remove_point", {"id": 1, "frame": 0, "index": 1}),
    ("clear", {"id": 1, "frame": 2}),
    ("remove_object", {"id": 1}),
]


def test_every_edit_is_undone_and_done_again(project: Project) -> None:
    """Undo goes back through the very same states, and redo forward again."""
    states = [project.objects]
    for kind, values in STEPS:
        do(project, kind, **values)
        states.append(project.objects)
    assert all(one != other for one, other in itertools.pairwise(states))

    for wanted in reversed(states[:-1]):
        project.undo(revision=project.revision)
        assert project.objects == wanted
    assert not project.can_undo
    for wanted in states[1:]:
        project.redo(revision=project.revision)
        assert project.objects == wanted
    assert not project.can_redo


def test_a_stale_edit_is_refused(project: Project) -> None:
    """An edit, undo or redo made of another state than the present one changes nothing."""
    do(project, "add_object")
    edit = EDIT.validate_python({"kind": "remove_object", "id": 1})
    for act in (
        lambda: project.edit(edit, revision=0, check=nothing_wrong),
        lambda: project.undo(revision=0),
        lambda: project.redo(revision=2),
    ):
        with pytest.raises(StaleRevision, match="the prompts have changed"):
            act()
    assert [item.id for item in project.objects] == [1]


def test_only_one_works_on_a_project(project: Project) -> None:
    """A second server is told in one line."""
    with (
        pytest.raises(StateError, match="another `longtake open` has"),
        open_project(project.folder, source="v"),
    ):
        pass


def test_a_full_disk_changes_nothing(project: Project, full_disk) -> None:
    """An edit that cannot be saved is refused, and the state is the one before."""
    do(project, "point", id=None, frame=0, x=1, y=1)
    before = (project.folder / PROJECT).read_bytes()
    with full_disk(8), pytest.raises(StorageError, match="disk is full"):
        do(project, "point", id=1, frame=0, x=2, y=1)

    assert len(project.objects[0].prompts[0].points) == 1
    assert (project.folder / PROJECT).read_bytes() == before
    do(project, "point", id=1, frame=0, x=3, y=1)
    assert len(project.objects[0].prompts[0].points) == 2


def test_unfinished_objects_are_kept_but_not_tracked(project: Project) -> None:
    """An object without prompts, or with clicks beside it alone, is in the project only."""
    do(project, "add_object", label="later")
    do(project, "point", id=None, frame=0, x=1, y=1, label=0)
    assert not project.prompts_path.exists()

    do(project, "point", id=2, frame=5, x=1, y=1)

    assert [item["id"] for item in saved(project)["objects"]] == [2]
    assert [entry["frame"] for entry in saved(project)["objects"][0]["prompts"]] == [5]
    assert len(project.objects) == 2


def test_numbers_are_not_given_twice(project: Project) -> None:
    """A new object does not get the number of one that was removed."""
    for _ in range(2):
        do(project, "add_object")
    do(project, "remove_object", id=2)

    assert do(project, "add_object") == 3


def test_a_prompts_file_is_taken_up(tmp_path: Path) -> None:
    """A folder with a prompts file and nothing else begins with it; one that cannot be edited here
    is refused, and stays as it is."""
    path = tmp_path / "prompts.json"
    path.write_text(json.dumps({"objects": [{"id": 5, "prompts": [{"frame": 1, "mask": RLE}]}]}))
    with open_project(tmp_path, source="v") as project:
        assert [item.id for item in project.objects] == [5]
        assert do(project, "add_object") == 6

    (tmp_path / PROJECT).unlink()
    timed = json.dumps({"objects": [{"id": 5, "prompts": [{"time": 1.0, "mask": RLE}]}]})
    path.write_text(timed)
    with pytest.raises(InputError, match="move it away"), open_project(tmp_path, source="v"):
        pass
    assert path.read_text() == timed


def test_a_damaged_project_is_said(tmp_path: Path) -> None:
    """What cannot be read is not replaced."""
    (tmp_path / PROJECT).write_text("{")
    with pytest.raises(StorageError, match="damaged"), open_project(tmp_path, source="v"):
        pass
    assert (tmp_path / PROJECT).read_text() == "{"


@pytest.mark.parametrize(
    ("kind", "values", "said"),
    [
        ("clear", {"id": 9, "frame": 0}, "there is no object 9"),
        ("box", {"id": None, "frame": 0, "box": [2, 2, 1, 1]}, "inside out"),
        ("remove_point", {"id": 1, "frame": 0, "index": 4}, "no click 4"),
        ("rename", {"id": 1, "label": "a\nb"}, "line break"),
    ],
)
def test_what_cannot_be_done_is_said(project: Project, kind, values, said) -> None:
    """One line, and nothing has changed."""
    do(project, "point", id=None, frame=0, x=1, y=1)
    with pytest.raises(InputError, match=said):
        do(project, kind, **values)
    assert project.revision == 1
