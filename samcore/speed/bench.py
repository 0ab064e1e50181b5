"""Measures the stages of models on this machine, one after another."""

import contextlib
import importlib.metadata
import logging
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from samcore.errors import InputError
from samcore.machine.device import Compute
from samcore.machine.out_of_memory import free_caches, memory_failure
from samcore.models.family import TrackingModel
from samcore.models.loader import load_model
from samcore.models.registry import ModelSpec
from samcore.progress import Progress, counted, report
from samcore.speed import record
from samcore.speed.quiet import QuietWatch, usable_cores
from samcore.speed.record import (
    OBJECTS,
    SECONDS,
    BenchRecord,
    LeftOut,
    Machine,
    Measured,
    Setup,
    check_objects,
)
from samcore.speed.stages import VIDEO_FRAMES, Footage, Stages, decode_video
from samcore.speed.timing import MatrixProducts, Timing, Work, synchronise, time_work

logger = logging.getLogger(__name__)

FRAME_HEIGHT, FRAME_WIDTH = 720, 1280
"""Of the frames, in pixels."""
IMAGE_BATCHES = (1, 4, 8, 16)
"""Pictures that the image encoder takes at once."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One model at one size in one arithmetic."""

    spec: ModelSpec
    compute: Compute


@dataclass(frozen=True, slots=True)
class _Task:
    """One measurement to make."""

    stage: str
    make: Callable[[], Work]
    objects: int | None = None
    batch: int = 1
    frames: int = 1
    """Frames or pictures of one run."""

    @property
    def size(self) -> int:
        """What the time of a stage grows with."""
        return self.objects or self.batch

    @property
    def what(self) -> str:
        """For a person."""
        if self.objects is not None:
            return f"{self.stage}, {counted(self.objects, 'object')}"
        return self.stage if self.batch == 1 else f"{self.stage}, {self.batch} at once"


class Bench:
    """Measures; what it has is there at any time, also when a signal ends it."""

    def __init__(
        self,
        wanted: Sequence[Wanted],
        *,
        objects: Sequence[int] = OBJECTS,
        seconds: float = SECONDS,
    ) -> None:
        """Measure nothing yet.

        Args:
            wanted: What to measure, in this order.
            objects: Numbers of objects.
            seconds: For one measurement. A slow one takes two runs, however long; where one of more
                objects or pictures would take longer than this, it is left out.

        Raises:
            InputError: A number is out of its range.
        """
        self._objects = check_objects(objects)
        if not 0 < seconds < float("inf"):
            raise InputError(f"a measurement takes some seconds, got {seconds:g}")
        if not wanted:
            raise InputError("nothing to measure: name a model")
        self._wanted = wanted
        self._seconds = seconds
        self._watch: QuietWatch | None = None
        self._setups: list[Setup] = []
        self._complete = False
        self._warned = False

    def run(self) -> None:
        """Measure all, and tell listeners of `samcore.progress` how far it is.

        Raises:
            SegmentationError: A model cannot be loaded, or does not fit into memory.
        """
        report(Progress("painting frames"))
        footage = Footage.paint(
            height=FRAME_HEIGHT, width=FRAME_WIDTH, num_objects=self._objects[-1]
        )
        with tempfile.TemporaryDirectory(prefix="longtake-bench-") as folder:
            video = footage.write(Path(folder) / "video.mp4")
            for place, wanted in enumerate(self._wanted):
                self._measure(wanted, footage, video, place)
        self._complete = True

    def record(self) -> BenchRecord:
        """What was measured up to now, without conclusions."""
        watch = self._watch or QuietWatch()
        return BenchRecord(
            machine=_machine(self._wanted[0].compute),
            frame_width=FRAME_WIDTH,
            frame_height=FRAME_HEIGHT,
            complete=self._complete,
            busyness=watch.verdict(),
            setups=tuple(self._setups),
        )

    def _measure(self, wanted: Wanted, footage: Footage, video: Path, place: int) -> None:
        spec, compute = wanted.spec, wanted.compute
        report(Progress(f"loading {spec.name}"))
        model = load_model(spec, compute)
        stages = Stages(model, footage)
        setup = Setup(
            model=spec.name,
            image_size=spec.image_size,
            dtype=compute.dtype_name,
            weights_bytes=spec.weights_bytes,
            num_maskmem=model.facts.num_maskmem,
            encode_batch=stages.encode_batch,
        )
        self._setups.append(setup)
        if self._watch is None:
            self._watch = QuietWatch()
        report(Progress("measuring matrix products"))
        products = MatrixProducts(compute)
        probe = self._watch.new_probe(products.probe())
        setup = self._replace(matrix_flops_per_s=products.flops_per_s())
        probe()
        self._warn_if_busy()
        tasks = list(_tasks(stages, self._objects, video))
        last: dict[str, tuple[int, float]] = {}
        for done, task in enumerate(tasks):
            setups = f" ({place + 1} of {len(self._wanted)})" if len(self._wanted) > 1 else ""
            name = f"measuring {spec.name} at {spec.image_size} px{setups}"
            report(Progress(name, done, len(tasks), "stages", note=task.what))
            if task.stage not in last:
                probe()
            found = self._one(task, last, model)
            if isinstance(found, Measured):
                setup = self._replace(measured=(*setup.measured, found))
                last[task.stage] = (task.size, found.ms / 1e3 * task.frames)
            else:
                setup = self._replace(left_out=(*setup.left_out, found))
        probe()
        report(Progress(name, len(tasks), len(tasks), "stages"))

    def _warn_if_busy(self) -> None:
        """Say at once what would else be said at the end, minutes later."""
        if self._watch is None or self._warned:
            return
        if reason := self._watch.verdict().reason:
            logger.warning("this machine is busy: %s", reason)
            self._warned = True

    def _one(
        self, task: _Task, last: dict[str, tuple[int, float]], model: TrackingModel
    ) -> Measured | LeftOut:
        """Make a measurement, unless it takes too long or does not fit."""
        size, seconds = last.get(task.stage, (task.size, 0.0))
        expected = seconds * task.size / size
        if expected > self._seconds:
            return _left_out(task, f"a run takes about {expected:.1f} s")
        try:
            return self._time(task, model)
        except Exception as error:
            failure = memory_failure(error)
            if failure is None:
                raise
            said = f"it does not fit into memory: {failure}"
        free_caches()
        return _left_out(task, said)

    def _time(self, task: _Task, model: TrackingModel) -> Measured:
        work = task.make()
        memories = None
        if task.stage == record.WHOLE:
            memories = self._fill_memory(work, task, model)
        timing = time_work(work, device=model.device, seconds=self._seconds)
        if memories is not None:
            memories = min(memories + task.frames * timing.runs, model.facts.num_maskmem)
        return _measured(task, timing, memories)

    def _fill_memory(self, track: Work, task: _Task, model: TrackingModel) -> int:
        """Track until no later frame has more memory, or for the seconds of a measurement; how
        many spatial memories there are at least."""
        full = max(model.facts.num_maskmem, model.facts.max_obj_ptrs)
        frames, begun = 0, time.perf_counter()
        while frames == 0 or (frames < full and time.perf_counter() - begun < self._seconds):
            track()
            synchronise(model.device)
            frames += task.frames
        return frames

    def _replace(self, **changes: object) -> Setup:
        """Change the last setup."""
        self._setups[-1] = self._setups[-1].model_copy(update=changes)
        return self._setups[-1]


def _tasks(stages: Stages, objects: Sequence[int], video: Path) -> Iterator[_Task]:
    """All measurements of a model, in the order of `STAGES`."""
    yield _Task(record.DECODING, lambda: decode_video(video), frames=VIDEO_FRAMES)
    yield _Task(record.PREPROCESSING, stages.preprocess)
    yield _Task(record.ENCODER, stages.encode)
    makers: dict[str, Callable[[int], Work]] = {
        record.ATTENTION: stages.attention,
        record.DECODER: stages.decode,
        record.MEMORY: stages.encode_memory,
        record.RESIZING: stages.resize,
        record.RUN_LENGTHS: stages.run_lengths,
        record.WHOLE: stages.whole,
    }
    for stage, make in makers.items():
        for count in objects:
            together = stages.encode_batch if stage == record.WHOLE else 1
            yield _Task(stage, _bound(make, count), objects=count, batch=together, frames=together)
    for batch in IMAGE_BATCHES:
        yield _Task(record.IMAGES, _bound(stages.images, batch), batch=batch, frames=batch)


def _bound(make: Callable[[int], Work], count: int) -> Callable[[], Work]:
    return lambda: make(count)


def _measured(task: _Task, timing: Timing, memories: int | None) -> Measured:
    return Measured(
        stage=task.stage,
        objects=task.objects,
        batch=task.batch,
        ms=timing.median_s / task.frames * 1e3,
        least_ms=timing.least_s / task.frames * 1e3,
        runs=timing.runs,
        flops=timing.flops // task.frames,
        memories=memories,
        peak_rss_bytes=timing.memory.peak_rss_bytes,
        peak_vram_bytes=timing.memory.peak_vram_bytes,
    )


def _left_out(task: _Task, reason: str) -> LeftOut:
    return LeftOut(stage=task.stage, objects=task.objects, batch=task.batch, reason=reason)


def _machine(compute: Compute) -> Machine:
    return Machine(
        cpu=_cpu_name(),
        device=compute.device_name,
        cores=len(usable_cores()),
        threads=torch.get_num_threads(),
        ram_bytes=psutil.virtual_memory().total,
        longtake=importlib.metadata.version("longtake"),
        torch=torch.__version__,
    )


def _cpu_name() -> str:
    """The processor's name; that of its kind where the system has no better one."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine() or os.name
