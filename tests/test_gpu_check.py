"""The check of a machine with a GPU, at a tiny size on the CPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECK = Path(__file__).parent / "gpu_check"
NOT_THERE = ("pyarrow", "prefect", "ffmpeg", "imageio_ffmpeg", "boto3", "pycocotools")
"""What a bare GPU machine may lack."""
REFUSE = f"""
import sys


class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {NOT_THERE}:
            raise ImportError(f"{{name}} is not to be imported here")


sys.meta_path.insert(0, Refuse())
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_all_parts_run_without_what_a_gpu_machine_lacks(tmp_path: Path) -> None:
    """Each part passes or says what it needs CUDA for, and the file tells what was measured."""
    (tmp_path / "sitecustomize.py").write_text(REFUSE)
    out = tmp_path / "found.json"

    done = subprocess.run(
        [
            *(sys.executable, str(CHECK), "--out", str(out), "--device", "cpu", "--tiny"),
            *("--limit-scale", "20"),  # a time limit would be one on the machine's other work
        ],
        env=os.environ | {"PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr + out.read_text()
    found = json.loads(out.read_text())
    parts = found["parts"]
    assert found["passed"]
    assert found["complete"]
    assert {part["status"] for part in parts.values()} == {"passed"}
    assert parts["parity"]["nano"]["float32"]["mean_iou"] > 0.99
    assert [step.partition(" (")[0] for step in parts["out_of_memory"]["steps"]] == [
        "frame 4: freed caches and tried again",
        "frame 4: encode batch 4 -> 2",
        "frame 4: encode batch 2 -> 1",
    ]
    assert parts["out_of_memory"]["mean_iou"] > 0.99
    assert parts["out_of_memory"]["rung"]["encode_batch"] == 1
    assert parts["chunks"]["differ"] == []
    assert parts["chunks"]["mask_pixels"] > 0
    assert len(parts["flat_memory"]["peak_rss_bytes"]) == 2
    assert parts["fps"]["objects_2"]["ratio"] > 0
    skipped = {name for name, part in parts.items() if "CUDA" in str(part.get("skipped"))}
    assert skipped == {"out_of_memory", "flat_memory", "compiled", "fps_compiled"}
    assert set(parts["compiled"]["compilations"].values()) == {1}
    assert parts["compiled"]["objects_2"]["mean_iou"] > 0.99
    assert parts["compiled"]["objects_2"]["fps"] > 0
    assert parts["compiled"]["differ"] == []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_part_that_hangs_or_crashes_leaves_the_others(tmp_path: Path) -> None:
    """The file says how each one ended, with what it had measured until then."""
    out = tmp_path / "found.json"
    trouble = tmp_path / "trouble.py"
    trouble.write_text(
        "import os, runpy, sys, time\n"
        f"sys.path[:0] = [{str(CHECK)!r}, {str(CHECK.parents[1])!r}]\n"
        "import parts\n"
        "def hangs(work):\n"
        "    yield {'begun': 1}\n"
        "    time.sleep(1000)\n"
        "def crashes(work):\n"
        "    yield {'begun': 1}\n"
        "    os.abort()\n"
        "def works(work):\n"
        "    yield {'begun': 1}\n"
        "parts.PARTS.update(parity=hangs, chunks=crashes, fps=works)\n"
        f"sys.argv[0] = {str(CHECK)!r}\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )

    done = subprocess.run(
        [
            *(sys.executable, str(trouble), "--out", str(out), "--device", "cpu", "--tiny"),
            *("--parts", "parity", "chunks", "fps", "--limit-scale", "0.2"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1, done.stderr
    parts = json.loads(out.read_text())["parts"]
    assert {name: part["status"] for name, part in parts.items()} == {
        "parity": "out of time",
        "chunks": "crashed",
        "fps": "passed",
    }
    assert all(part["begun"] == 1 for part in parts.values())
