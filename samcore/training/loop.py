"""From nothing to weights: the training loop."""

import logging
import math
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from samcore.disk.atomic import storage_error
from samcore.errors import InputError, StateError
from samcore.machine.device import Compute, training_compute
from samcore.models.sam2.adapter import Sam2Model
from samcore.models.sam2.network import build_network
from samcore.training.checkpoint import (
    WEIGHTS_NAME,
    Checkpoint,
    load_checkpoint,
    load_weights,
    save_checkpoint,
    save_weights,
)
from samcore.training.clips import VALIDATION_SEEDS, ClipBatch, clip_batches
from samcore.training.config import Phase, PromptKind, TrainConfig, load_config
from samcore.training.evaluation import score_kinds
from samcore.training.log import LOG_NAME, TrainingLog
from samcore.training.network import RunningMean, new_network, resized_network
from samcore.training.replicas import Replicas, joined
from samcore.training.unroll import UnrollPlan, run_clips

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run is; given to the caller at every line of the log."""

    step: int
    """Steps done."""
    steps: int
    """Steps to do in all."""
    phase: str
    loss: float
    iou: float
    """Mean IoU of the training clips of late."""
    seconds: float
    """Time spent in training so far, earlier sittings included."""


@dataclass(frozen=True, slots=True)
class Start:
    """Weights that a new run begins with in place of those of the phases before."""

    weights: Path
    """Safetensors, as a run leaves them. A log beside them is continued."""
    phase: str
    """The first phase to train; the optimiser begins afresh."""


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What a call of `train` left behind."""

    step: int
    """Steps done; fewer than `steps` if it was told to stop."""
    steps: int
    weights: Path
    """The running mean of the weights, fp16 safetensors."""
    seconds: float


def train(
    config_path: Path,
    out_dir: Path,
    *,
    device: str = "auto",
    start: Start | None = None,
    stop_at: int | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> TrainResult:
    """Train the model that a configuration describes, or go on where `out_dir` stands.

    `out_dir` gets a checkpoint every few minutes, `nano.safetensors` with it, `log.jsonl`, and the
    validation curve as `curve.json` and `curve.png`. A run that was killed goes on from its last
    checkpoint, with the same batches and draws as if nothing had happened. Phases may be appended
    to the configuration, or the current one made longer, between sittings. Under `torchrun` all
    processes train one model, and the first one writes.

    Args:
        config_path: See `TrainConfig`.
        out_dir: Made if it is missing.
        device: `auto` takes CUDA, else the CPU; bfloat16 where either has units for it.
        start: Where a run without a checkpoint begins; None is at the first phase, from nothing.
        stop_at: Stop after so many steps in all, with a checkpoint.
        on_progress: Called at every line of the log.

    Raises:
        InputError: The configuration is wrong, the start does not fit it, the device is not here,
            or `torchrun` started more processes than a step has batches.
        StateError: `out_dir` holds a checkpoint that is damaged or of another model.
        StorageError: `out_dir` cannot be written.
    """
    config = load_config(config_path)
    if start is not None:
        config.first_step(start.phase)
    compute = training_compute(device)
    with joined(config, device=compute.device) as replicas:
        return _train(config, out_dir, compute, start, stop_at, on_progress, replicas)


def _train(
    config: TrainConfig,
    out_dir: Path,
    compute: Compute,
    start: Start | None,
    stop_at: int | None,
    on_progress: Callable[[Progress], None] | None,
    replicas: Replicas,
) -> TrainResult:
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(out_dir, error, doing="write") from error
    run = _Run(config, out_dir, compute, start, replicas)
    end = min(config.steps, stop_at if stop_at is not None else config.steps)
    if run.step < end:
        run.go(end, on_progress)
    return TrainResult(run.step, config.steps, out_dir / WEIGHTS_NAME, run.seconds)


class _Run:
    """The moving parts of one run."""

    def __init__(
        self,
        config: TrainConfig,
        out_dir: Path,
        compute: Compute,
        start: Start | None,
        replicas: Replicas,
    ) -> None:
        self._config = config
        self._replicas = replicas
        self._out_dir = out_dir
        self._compute = compute
        self._image_size = config.at(0)[0].image_size
        self._net = new_network(
            config.model_config_file, seed=config.seed, image_size=self._image_size
        ).to(compute.device)
        self._mean = RunningMean(self._net, decay=config.ema)
        self._optimizer = _optimizer(self._net, config)
        self.step = 0
        self.seconds = 0.0
        if not self._resume() and start is not None:
            self._begin_with(start)
        self._log = TrainingLog(out_dir, first_step=self.step, keep=replicas.is_first)
        # A run that began with weights goes on with the time of the log that it took over.
        told = [r["seconds"] for r in self._log.records if "seconds" in r]
        self.seconds = self.seconds or (told[-1] if told else 0.0)
        if self.step == 0 and replicas.is_first:
            self._log.add({"kind": "start", "step": 0, "on": compute.describe()})

    def go(self, end: int, on_progress: Callable[[Progress], None] | None) -> None:
        """Train up to step `end`."""
        on_cuda = self._compute.device.type == "cuda"
        painted = clip_batches(
            self._config, first_step=self.step, replicas=self._replicas, pin=on_cuda
        )
        began, spent = time.monotonic(), self.seconds
        saved = began
        window: list[tuple[PromptKind, Tensor]] = []
        while self.step < end:
            phase, inside = self._config.at(self.step)
            self._fit_to(phase)
            own = [next(painted) for _ in self._replicas.numbers(phase.batches)]
            window += self._train_step(own, phase, inside)
            self.step += 1
            self.seconds = spent + time.monotonic() - began
            if not self._replicas.is_first:
                continue
            if self.step % self._config.log_every == 0 or self.step == end:
                self._report(window, phase, on_progress)
                window = []
            if self.step % self._config.validate_every == 0 or self.step == end:
                self._validate()
            if time.monotonic() - saved > self._config.checkpoint_seconds or self.step == end:
                self._save()
                saved = time.monotonic()

    def _train_step(
        self, batches: Sequence[ClipBatch], phase: Phase, inside: int
    ) -> list[tuple[PromptKind, Tensor]]:
        """One step of the optimiser, on this process's batches and those of the others.

        Returns:
            For each batch the kind of prompt, and five numbers still on the device: loss, IoU, IoU
            on the prompted frame, share of right presence, norm of the step's gradient.
        """
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate(phase, inside)
        self._optimizer.zero_grad(set_to_none=True)
        told = [self._learn_from(batch, phase, inside) for batch in batches]
        self._replicas.add_up(list(self._net.parameters()))
        norm = torch.nn.utils.clip_grad_norm_(self._net.parameters(), self._config.clip_norm)
        # A step without a finite gradient would end the run; it is left out and seen in the log.
        # Multiplying in place of asking keeps the host from waiting for the device.
        for parameter in self._net.parameters():
            if parameter.grad is not None:
                torch.nan_to_num_(parameter.grad, nan=0.0, posinf=0.0, neginf=0.0)
        self._optimizer.step()
        self._mean.update(self._net, step=self.step)
        return [(kind, torch.cat([numbers, norm[None]])) for kind, numbers in told]

    def _learn_from(self, batch: ClipBatch, phase: Phase, inside: int) -> tuple[PromptKind, Tensor]:
        """Add one batch's share of the gradient; its kind of prompt and its numbers."""
        device = self._compute.device
        seed = [self._config.seed, batch.step, 1, *([batch.number] if batch.number else [])]
        rng = np.random.default_rng(seed)
        plan = _draw_plan(rng, phase, inside)
        with self._compute.autocast(), _attention(device):
            losses = run_clips(
                self._net,
                batch.images_sthw3.to(device, non_blocking=True),
                batch.masks_rthw.to(device, non_blocking=True),
                plan=plan,
                weights=self._config.loss,
                loss_stride=self._config.loss_stride,
                rng=rng,
            )
        loss = torch.stack([frame.total for frame in losses]).mean()
        torch.autograd.backward(loss / phase.batches)
        iou = torch.stack([frame.iou for frame in losses]).mean()
        presence = torch.stack([frame.presence_right for frame in losses]).mean()
        return plan.kind, torch.stack([loss.detach(), iou, losses[0].iou, presence])

    def _fit_to(self, phase: Phase) -> None:
        """Change the input size, if this phase has another one."""
        if phase.image_size == self._image_size:
            return
        self._image_size = phase.image_size
        old = self._optimizer.state_dict()
        self._net = resized_network(
            self._net,
            self._config.model_config_file,
            image_size=phase.image_size,
            device=self._compute.device,
        )
        self._optimizer = _optimizer(self._net, self._config)
        self._optimizer.load_state_dict(old)

    def _report(
        self,
        window: list[tuple[PromptKind, Tensor]],
        phase: Phase,
        on_progress: Callable[[Progress], None] | None,
    ) -> None:
        rows = torch.stack([numbers for _, numbers in window]).cpu()
        loss, iou, first_iou, presence, norm = rows.mean(dim=0).tolist()
        kinds = [kind for kind, _ in window]
        by_kind = {
            kind: round(rows[[k == kind for k in kinds], 2].mean().item(), 4)
            for kind in sorted(set(kinds))
        }
        record = {
            "kind": "train",
            "step": self.step,
            "phase": phase.name,
            "loss": round(loss, 4),
            "iou": round(iou, 4),
            "prompted_iou": by_kind,
            "presence": round(presence, 4),
            "norm": round(norm, 3),
            "lr": round(self._optimizer.param_groups[0]["lr"], 7),
            "seconds": round(self.seconds, 1),
        }
        self._log.add(record)
        logger.info(
            "step %d of %d (%s): loss %.3f, IoU %.3f, on prompted frames %.3f %s",
            self.step, self._config.steps, phase.name, loss, iou, first_iou, by_kind,
        )  # fmt: skip
        if on_progress is not None:
            on_progress(
                Progress(self.step, self._config.steps, phase.name, loss, iou, self.seconds)
            )

    def _validate(self) -> None:
        """Track a few scenes with the running mean, as a user would."""
        net = build_network(
            str(self._config.model_config_file), None, seed=0, image_size=self._image_size
        )
        net.load_state_dict(self._mean.weights)
        model = Sam2Model(
            net.to(self._compute.device), compute=self._compute, fingerprint="in training"
        )
        scored = score_kinds(
            model,
            self._config.validation,
            VALIDATION_SEEDS[: self._config.validation_scenes],
            num_frames=self._config.validation_frames,
            size=self._image_size,
        )
        scores = {name: score.as_dict() for name, score in scored.items()}
        told = ", ".join(f"{name} {score.j:.3f}" for name, score in scored.items())
        logger.info("step %d: J on validation scenes: %s", self.step, told)
        self._log.add({"kind": "validation", "step": self.step, "scores": scores})
        self._log.write_curve()

    def _save(self) -> None:
        save_checkpoint(
            self._out_dir,
            Checkpoint(
                step=self.step,
                net=self._net.state_dict(),
                mean=self._mean.weights,
                optimizer=self._optimizer.state_dict(),
                seconds=self.seconds,
            ),
        )
        save_weights(self._out_dir / WEIGHTS_NAME, self._mean.weights)

    def _begin_with(self, start: Start) -> None:
        """Take over weights, and the log that lies beside them."""
        weights = load_weights(start.weights, device=self._compute.device)
        try:
            self._net.load_state_dict(weights)
        except RuntimeError as error:
            told = " ".join(str(error).split())[:200]
            raise InputError(f"{start.weights} are weights of another model: {told}") from error
        self._mean = RunningMean(self._net, decay=self._config.ema)
        self.step = self._config.first_step(start.phase)
        log = start.weights.parent / LOG_NAME
        taken = self._replicas.is_first and not (self._out_dir / LOG_NAME).exists()
        if taken and log.is_file():
            shutil.copyfile(log, self._out_dir / LOG_NAME)

    def _resume(self) -> bool:
        """Go on from the last checkpoint; whether there was one."""
        found = load_checkpoint(self._out_dir, device=self._compute.device)
        if found is None:
            return False
        try:
            self._net.load_state_dict(found.net)
            self._optimizer.load_state_dict(found.optimizer)
        except (RuntimeError, ValueError) as error:
            told = " ".join(str(error).split())[:200]
            raise StateError(
                f"{self._out_dir} holds a run of another model: {told}; give another folder"
            ) from error
        self._mean.weights = found.mean
        self.step = found.step
        self.seconds = found.seconds
        logger.info("going on at step %d of %d", self.step, self._config.steps)
        return True


def _attention(device: torch.device) -> AbstractContextManager[None]:
    """Attention by plain products on a CPU, where the gradient of PyTorch's fused one takes a third
    of a step (a sixth less time in all, measured on AMD EPYC)."""
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()


def learning_rate(phase: Phase, inside: int) -> float:
    """The learning rate at a step of a phase: half a cosine from the first to the second."""
    start, end = phase.lr
    rate = end + (start - end) * 0.5 * (1 + math.cos(math.pi * inside / phase.steps))
    return rate * min(1.0, (inside + 1) / phase.warmup) if phase.warmup else rate


def _draw_plan(rng: np.random.Generator, phase: Phase, inside: int) -> UnrollPlan:
    kinds = [kind for kind, share in phase.prompts.items() if share > 0]
    shares = np.array([phase.prompts[kind] for kind in kinds])
    again = phase.frames > 2 and rng.uniform() < phase.reprompt

    def ramp(ends: tuple[float, float]) -> float:
        return ends[0] + (ends[1] - ends[0]) * inside / phase.steps

    return UnrollPlan(
        kind=kinds[int(rng.choice(len(kinds), p=shares / shares.sum()))],
        reprompt_at=int(rng.integers(1, phase.frames - 1)) if again else None,
        given_memory=ramp(phase.given_memory),
        given_presence=ramp(phase.given_presence),
        balance=ramp(phase.balance),
    )


def _optimizer(net: Any, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW; weight decay on matrices and kernels alone, not on biases, norms and embeddings."""
    decayed: list[Tensor] = []
    free: list[Tensor] = []
    for name, parameter in net.named_parameters():
        plain = parameter.ndim < 2 or "embed" in name or "token" in name or "tpos_enc" in name
        (free if plain else decayed).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": config.weight_decay},
            {"params": free, "weight_decay": 0.0},
        ],
        lr=config.phases[0].lr[0],
        betas=config.betas,
        fused=True,
    )
