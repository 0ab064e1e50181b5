"""Prompts outlive the page, its server, and a second window."""

import json
import os
import re
import signal
import subprocess
import sys

import httpx
import pytest

from flows.page.guard import TOKEN_HEADER
from tests.flows.page.conftest import LONG_MS, open_window


def begin(*args: object) -> tuple[subprocess.Popen[str], str]:
    """Run `longtake open`; the process and its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", "open", *map(str, args), "--no-browser"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    found = re.search(r"http://127\.0\.0\.1:\d+/#\S+", process.stdout.readline())
    assert found is not None, process.communicate()
    return process, found[0]


def ask(address: str) -> httpx.Client:
    """A client with the token of an address."""
    url, _, token = address.partition("#")
    return httpx.Client(base_url=url, headers={TOKEN_HEADER: token}, timeout=120)


def test_a_killed_server_loses_no_prompt(clip, tmp_path) -> None:
    """After SIGKILL the next command has all that was said, and its undo. Meanwhile a second
    server on the same video is refused in one line; Ctrl-C ends the command cleanly."""
    folder = tmp_path / "kept"
    args = (clip, "-o", folder, "--model", "nano")
    process, address = begin(*args)
    with process, ask(address) as client:
        client.get("/api/frames/0")
        edit = {"kind": "point", "id": None, "frame": 0, "x": 60, "y": 50}
        assert client.post("/api/edit", json={"edit": edit, "revision": 0}).status_code == 200
        second = subprocess.run(
            [sys.executable, "-m", "flows.cli", "open", *map(str, args), "--no-browser"],
            capture_output=True,
            text=True,
            check=False,
        )
        process.kill()
        process.communicate()
    assert second.returncode == 2
    assert re.fullmatch(r"longtake: another `longtake open` has .* open: .*\n", second.stderr)

    process, address = begin(*args)
    with process, ask(address) as client:
        topics = client.get("/api/news?wait=false").json()["topics"]
        (item,) = topics["project"]["objects"]
        assert item["prompts"][0]["points"] == [[60, 50, 1]]
        assert topics["project"]["canUndo"]
        process.send_signal(signal.SIGINT)
        said, errors = process.communicate(timeout=120)
    assert process.returncode == 0
    assert "the page is closed" in said
    assert errors == ""
    assert json.loads((folder / "prompts.json").read_text())["objects"][0]["id"] == 1


@pytest.mark.parametrize("content", ["no video", ""])
def test_what_is_no_video_is_said(tmp_path, content: str) -> None:
    """One line, and exit code 2."""
    path = tmp_path / "notes.mp4"
    path.write_text(content)
    process = subprocess.run(
        [sys.executable, "-m", "flows.cli", "open", str(path), "--no-browser"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 2
    assert re.fullmatch(r"longtake: .*notes\.mp4.*\n", process.stderr)


def test_a_closed_window_loses_nothing(chromium, fresh) -> None:
    """A window that is closed right after a click, and opened again, shows what was said."""
    with open_window(chromium, fresh) as window:
        window.open()
        window.click(64, 48)
        window.page.wait_for_selector("#objects li", timeout=LONG_MS)
    with open_window(chromium, fresh) as window:
        window.open()
        window.page.wait_for_selector("#objects li", timeout=LONG_MS)
        assert len(fresh.prompts["objects"]) == 1


def test_two_windows_are_kept_equal(chromium, fresh) -> None:
    """What one window does, the other one shows, masks included; a change that was made of what is
    gone by is refused, and said."""
    with open_window(chromium, fresh) as one, open_window(chromium, fresh) as other:
        one.open()
        other.open()
        one.click(64, 48)
        one.page.wait_for_selector("#objects li", timeout=LONG_MS)
        obj_id = int(one.page.get_attribute("#objects li", "data-id"))
        other.masked(obj_id)
        revision = fresh.session.project.revision
        other.page.fill("#objects li input", "seen by both")
        other.press("Enter")
        one.saved(revision + 1)
        assert one.page.input_value("#objects li input") == "seen by both"

        # The other window hears no news any more, and does something of its own. What it has asked
        # for before that is still answered, by the first of these changes.
        other.page.route("**/api/news*", lambda route: route.abort())
        fresh.edit("rename", id=obj_id, label="third")
        other.page.wait_for_selector("body[data-lost]", timeout=LONG_MS)
        fresh.edit("rename", id=obj_id, label="fourth")
        revision = fresh.session.project.revision
        other.page.click("#add")
        other.page.wait_for_selector(".toast:has-text('another window')", timeout=LONG_MS)
        assert fresh.session.project.revision == revision


def test_a_stale_edit_is_refused(fresh) -> None:
    """The server takes an edit of the present revision only, and says so by 409."""
    fresh.edit("add_object")
    revision = fresh.session.project.revision
    for path, body in (
        ("edit", {"edit": {"kind": "add_object"}, "revision": revision - 1}),
        ("undo", {"revision": revision - 1}),
        ("redo", {"revision": revision + 1}),
    ):
        answer = fresh.client.post(f"/api/{path}", json=body)
        assert answer.status_code == 409
        assert "the prompts have changed" in answer.json()["error"]
    assert fresh.session.project.revision == revision


@pytest.mark.parametrize(
    ("kind", "values", "said"),
    [
        ("point", {"id": None, "frame": 0, "x": 999, "y": 5}, "wanted a point in the picture"),
        ("point", {"id": None, "frame": 999, "x": 9, "y": 5}, "no frame 999"),
        ("box", {"id": None, "frame": 0, "box": [-90, 0, 5, 5]}, "wanted a box in the picture"),
        (
            "mask",
            {"id": None, "frame": 0, "mask": {"size": [2, 2], "counts": [1, 3]}},
            "wanted the video's",
        ),
        (
            "mask",
            {"id": None, "frame": 0, "mask": {"size": [96, 128], "counts": [96 * 128]}},
            "empty",
        ),
        ("point", {"id": 77, "frame": 0, "x": 9, "y": 5}, "there is no object 77"),
    ],
)
def test_prompts_are_held_against_the_video(fresh, kind, values, said) -> None:
    """What a run would refuse is refused here, in the same words, and not saved."""
    answer = fresh.edit(kind, **values)
    assert answer.status_code == 422
    assert said in answer.json()["error"]
    assert not fresh.session.project.objects


def test_prompts_are_on_frames_that_are_tracked(fresh, monkeypatch) -> None:
    """Where the run tracks some frames only, a prompt beside them is refused with the nearest."""
    some = fresh.session.request.model_copy(update={"every": 10})
    monkeypatch.setattr(fresh.session, "request", some)
    answer = fresh.edit("point", id=None, frame=7, x=9, y=5)
    assert answer.status_code == 422
    assert "the nearest are 0 (0.000 s) and 10 (" in answer.json()["error"]
    assert fresh.edit("point", id=None, frame=10, x=9, y=5).status_code == 200
