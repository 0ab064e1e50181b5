"""Registries: what every room of entries has in common, and entries of other packages."""

import importlib
import importlib.util
import subprocess
import sys
import textwrap
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from samcore.chunks.handoff import HANDOFFS
from samcore.detectors.detector import DETECTORS
from samcore.errors import InputError
from samcore.exports import FORMATS
from samcore.findings.check import CHECKS
from samcore.models.family import FAMILIES
from samcore.registry import Registry
from samcore.tracking.memory.policy import POLICIES, PolicyEntry
from tasks.runners.runner import RUNNERS

REGISTRIES: tuple[Registry, ...] = (
    CHECKS,
    DETECTORS,
    FAMILIES,
    FORMATS,
    HANDOFFS,
    POLICIES,
    RUNNERS,
)
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda registry: registry.kind)
def test_every_entry_says_what_it_is_and_can_be_used(registry):
    """Each of our entries has a name of its own, one line for people, and a home that exists."""
    assert len(set(registry.names)) == len(registry.names) >= 1
    for entry in registry.built_in:
        assert entry.name == entry.name.lower().replace(" ", "-")
        assert 5 < len(entry.about) < 90
        assert "\n" not in entry.about
        package = getattr(entry, "package", None)
        if package is None or importlib.util.find_spec(package) is not None:
            assert callable(entry.load())


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda registry: registry.kind)
def test_an_unknown_name_lists_the_known_ones(registry):
    """The message says what was given, and all that could have been."""
    with pytest.raises(InputError, match="got 'nonesuch', known are") as caught:
        registry.get("nonesuch")
    assert all(name in str(caught.value) for name in registry.names)


def _with(monkeypatch: pytest.MonkeyPatch, *points: EntryPoint) -> Registry[PolicyEntry]:
    monkeypatch.setattr("samcore.registry.entry_points", lambda group: list(points))
    return Registry("memory policy", "longtake.policies", PolicyEntry, POLICIES.built_in)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("no_such_module:ENTRY", "cannot be imported"),
        ("samcore.errors:InputError", "it is no PolicyEntry"),
        ("tests.samcore.test_registry:SECOND_SAM2", "a second memory policy named sam2"),
    ],
)
def test_another_packages_fault_leaves_ours_alone(monkeypatch, caplog, value, said):
    """An entry point that cannot be used is left out with a warning; our entries are there."""
    monkeypatch.setattr(
        importlib.import_module("samcore.tracking.memory.policy"), "SECOND", SECOND_SAM2, False
    )
    point = EntryPoint(
        "theirs",
        value.replace(
            "tests.samcore.test_registry:SECOND_SAM2", "samcore.tracking.memory.policy:SECOND"
        ),
        "longtake.policies",
    )
    registry = _with(monkeypatch, point)

    assert registry.names == tuple(entry.name for entry in POLICIES.built_in)
    assert said in caplog.text


SECOND_SAM2 = PolicyEntry(name="sam2", about="ours is this one", home="nowhere:Nothing")


def _install(folder: Path, group: str, module: str, code: str) -> Path:
    """A package beside Longtake, whose entry point `toy` is `ENTRY` of a module with this code."""
    folder.mkdir()
    (folder / f"{module}.py").write_text(textwrap.dedent(code))
    info = folder / "toys-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toys\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[{group}]\ntoy = {module}:ENTRY\n")
    return folder


def _run(package: Path, script: str) -> list[str]:
    """The lines that a script prints in a process that sees the package."""
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env={"PYTHONPATH": f"{ROOT}:{package}", "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        cwd=package,
    )
    assert ended.stderr == ""
    return ended.stdout.splitlines()


def test_a_policy_of_another_package_tracks(tmp_path):
    """A policy that is installed beside Longtake is found by name and used by the tracker."""
    package = _install(
        tmp_path / "toys",
        "longtake.policies",
        "toy_policies",
        '''
        from samcore.tracking.memory.policy import Holds, PolicyEntry, Read
        from samcore.tracking.memory.sam2 import Sam2Policy

        class FirstOnly(Sam2Policy):
            """Reads the first prompted frame and nothing else."""

            def read(self, frame_idx):
                first = self.cond[0]
                return Read(((first, 0),), ((first, frame_idx - first),))

            def holds(self):
                return Holds(frozenset(self.cond), frozenset(self.cond))

        ENTRY = PolicyEntry(
            name="toy", about="the first frame only", home="toy_policies:FirstOnly"
        )
        ''',
    )
    lines = _run(
        package,
        """
        from pathlib import Path
        from samcore import TrackSettings, VideoTracker, choose_compute, load_model, resolve_model
        from samcore.scenes import Scene, box_of
        from samcore.tracking.memory.policy import POLICIES

        scene = Scene(3, num_frames=12, height=96, width=128, num_objects=1)
        spec = resolve_model("nano", cache_dir=Path("none"))
        model = load_model(spec, choose_compute("cpu", "auto"))
        settings = TrackSettings(memory_policy="toy")
        tracker = VideoTracker(model, height=96, width=128, num_frames=12, settings=settings)
        tracker.add_box(1, 0, box_of(scene.masks_nhw(0)[0]))
        areas = [int(output.masks_nhw.sum()) for output in tracker.track(list(scene))]
        state = tracker.state()
        print(POLICIES.names[-1], state.policy, [m.frame_idx for m in state.objects[0].memories])
        print(min(areas) > 0)
        """,
    )
    assert lines == ["toy toy 1 [0]", "True"]


def test_a_detector_of_another_package_finds_what_is_tracked(tmp_path):
    """A detector that is installed beside Longtake can be asked for by name, on the command line,
    too; the boxes that it gives become objects, and the tracker follows them."""
    package = _install(
        tmp_path / "toys",
        "longtake.detectors",
        "toy_detectors",
        '''
        from samcore.detectors.detector import Detection, DetectorEntry
        from samcore.scenes import Scene, box_of

        class Oracle:
            """Knows where the shapes of a made-up scene are."""

            def __init__(self, model, options, *, batch):
                self.scene = Scene(3, num_frames=66, height=96, width=128, num_objects=2)

            def detect(self, images, *, first_frame=0, on_progress=None):
                return [
                    [
                        Detection(0.9, image.shape[:2], box_xyxy_px=box_of(mask), label="shape")
                        for mask in self.scene.masks_nhw(frame)
                    ]
                    for frame, image in enumerate(images, start=first_frame)
                ]

        ENTRY = DetectorEntry(
            name="toy", about="knows where shapes are", home="toy_detectors:Oracle"
        )
        ''',
    )
    lines = _run(
        package,
        """
        from pathlib import Path
        from samcore import VideoTracker, choose_compute, load_model, resolve_model
        from samcore.detectors.detector import DETECTORS, make_detector
        from samcore.prompts.automatic import choose_objects
        from samcore.prompts.options import parse_automatic
        from samcore.scenes import Scene

        frames = list(Scene(3, num_frames=66, height=96, width=128, num_objects=2))[:12]
        spec = resolve_model("nano", cache_dir=Path("none"))
        model = load_model(spec, choose_compute("cpu", "auto"))
        options = parse_automatic("5", ["detector=toy"])
        (found,) = make_detector(options, model, batch=1).detect([frames[0].image_rgb_hwc_u8])
        tracker = VideoTracker(model, height=96, width=128, num_frames=66)
        for prompt in choose_objects(found, options, frame_idx=0):
            tracker.add_prompt(prompt)
        areas = [output.masks_nhw.sum((1, 2)) for output in tracker.track(frames)]
        print(DETECTORS.names[-1], len(areas), [bool(min(each) > 0) for each in zip(*areas)])
        """,
    )
    assert lines == ["toy 12 [True, True]"]


def test_a_check_of_another_package_is_listed(tmp_path):
    """A check that is installed beside Longtake looks at each object's rows. Its findings are
    counted with the others, and shown on the report's page under its own heading."""
    package = _install(
        tmp_path / "toys",
        "longtake.checks",
        "toy_checks",
        '''
        from samcore.findings.check import CheckEntry
        from samcore.findings.finding import Finding

        class Sighted:
            """Tells where an object is first seen."""

            def __init__(self, watched, tell):
                self.watched, self.tell, self.seen = watched, tell, False

            def add(self, rows):
                if not self.seen and rows.area.any():
                    self.seen, frame = True, int(rows.frame[rows.area > 0][0])
                    self.tell(Finding("toy", frame, self.watched.object_id, 1.0, "land in sight"))

            def end(self, stop):
                pass

        ENTRY = CheckEntry(
            name="toy",
            about="objects that are seen",
            home="toy_checks:Sighted",
            heading="Sightings",
            sees="rows",
        )
        ''',
    )
    lines = _run(
        package,
        """
        from fractions import Fraction
        from pathlib import Path
        import numpy as np
        from samcore.findings.checks import check_result
        from samcore.masks.frame_masks import FrameMasks
        from samcore.masks.table import MaskWriter
        from samcore.report.facts import ChunkFacts, ReportFacts
        from samcore.report.gather import gathering
        from samcore.report.page import render_report
        from samcore.scenes import Scene
        from samcore.video import VideoWriter, open_video

        scene, size = Scene(3, num_frames=66, height=96, width=128, num_objects=2), (96, 128)
        table, path, sure = Path("masks.parquet"), Path("v.mp4"), np.full(2, 0.9, np.float32)
        with (
            MaskWriter(table, height=96, width=128) as writer,
            VideoWriter(path, height=96, width=128, rate=Fraction(24)) as video,
        ):
            for number, frame in zip(range(10), scene):
                masks, prompted = scene.masks_nhw(number), np.full(2, number == 0)
                writer.write(FrameMasks(number, (1, 2), masks, 6 * sure, sure, prompted), number)
                video.write(frame.image_rgb_hwc_u8)
        chunk = ChunkFacts(
            index=0, start=0, stop=10, seconds=1.0, frames_per_second=10.0, peak_rss_bytes=1,
            peak_vram_bytes=None, attempts=1, degradations=(), quality_loss=False, stages=None,
        )
        facts = ReportFacts(
            title="v.mp4", start=0, stop=10, rate=24.0, height=96, width=128, labels={},
            chunks=(chunk,), seams=(), memory=(), about=(),
        )
        _, findings = check_result(facts, table, limit=2)
        print(findings.total, [(item.object_id, item.text) for item in findings.worst("toy")])
        film, gathered = open_video(path), []
        with gathering(facts, table, film, gathered.append) as show, film.read(0, 10) as frames:
            for frame in frames:
                show(frame)
        page = render_report(facts, gathered[0])
        print("Sightings" in page, 'data-kind="toy"' in page, "land in sight" in page)
        """,
    )
    assert lines == ["2 [(1, 'land in sight'), (2, 'land in sight')]", "True True True"]
