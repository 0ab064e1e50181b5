"""Which parts of a network run compiled, and for which calls.

They are the `sam2` package's own functions: Longtake's own ways are made for running operation by
operation. Compiled are

- the image encoder, for the frames of a batch;
- the memory attention, once an object's memory is full: before that each frame has another shape;
- the mask decoder and the memory encoder, for objects that are tracked.

The last three run for batches of 1, 2, 4, ... 64 objects. Memories with up to `MOST_PROMPTED`
prompted frames are compiled for, each number of them by itself. Everything else, such as prompts
and pooled memories, runs as it is.
"""

from collections.abc import Callable

from torch import Tensor

from samcore.machine.compiling import Compiler, batch_size, filled_up
from samcore.models.family import AttendedMemory, ModelFacts

Levels = tuple[list[Tensor], Tensor, list[tuple[int, int]]]
"""Features of each level, finest first, (H * W) x N x C; positions of the last one; sizes."""
Decoded = tuple[Tensor, Tensor, Tensor, Tensor]
"""The fields of `Candidates`."""

MOST_PROMPTED = 4
"""Prompted frames of an object up to which its memory attention is compiled."""


class CompiledParts:
    """The parts of one model, compiled for the calls that come again and again."""

    def __init__(
        self,
        compiler: Compiler,
        *,
        encode: Callable[[Tensor], Levels],
        attend: Callable[..., Tensor],
        decode: Callable[..., Decoded],
        remember: Callable[..., Tensor],
    ) -> None:
        """Compile nothing yet.

        Args:
            compiler: Of this model alone.
            encode: From preprocessed frames to their levels.
            attend: As `MemoryAttention.__call__`.
            decode: From fused features and the maps of the finer levels to candidates.
            remember: From tokens of a frame, mask logits and scores to spatial memories.
        """
        self.compiler = compiler
        self.encode: Callable[[Tensor], Levels] = compiler.part("image encoder", encode)
        self._attend = compiler.part("memory attention", attend)
        self._decode = compiler.part("mask decoder", decode)
        self._remember = compiler.part("memory encoder", remember)

    def attends(self, memory: AttendedMemory, facts: ModelFacts) -> bool:
        """Whether what objects attend to has one of the shapes that are compiled."""
        prompted = list(memory.temporal_positions).count(0)
        full_ptrs = facts.max_obj_ptrs if facts.max_obj_ptrs > 1 else 0
        return (
            memory.pool == 1
            and batch_size(memory.maskmem_bchw[0].shape[0]) is not None
            and 1 <= prompted <= MOST_PROMPTED
            and len(memory.temporal_positions) - prompted == facts.num_maskmem - 1
            and full_ptrs <= len(memory.obj_ptr_bc) < full_ptrs + MOST_PROMPTED
        )

    def attend(
        self,
        tokens_n1c: Tensor,
        pos_n1c: Tensor,
        memory_lbm: Tensor,
        memory_pos_lbm: Tensor,
        *,
        num_ptr_tokens: int,
    ) -> Tensor:
        """As `MemoryAttention.__call__`, of what `attends`."""
        count = memory_lbm.shape[1]
        size = batch_size(count) or count
        fused: Tensor = self._attend(
            tokens_n1c,
            pos_n1c,
            filled_up(memory_lbm, size, dim=1),
            filled_up(memory_pos_lbm, size, dim=1),
            num_ptr_tokens=num_ptr_tokens,
        )
        return fused[:, :count]

    def decode(self, fused_bchw: Tensor, high_res_1chw: tuple[Tensor, ...]) -> Decoded | None:
        """Candidates of objects without a prompt; None for too many objects."""
        count = fused_bchw.shape[0]
        size = batch_size(count)
        if size is None:
            return None
        logits, ious, tokens, score = self._decode(filled_up(fused_bchw, size), *high_res_1chw)
        return logits[:count], ious[:count], tokens[:count], score[:count]

    def remember(self, tokens_n1c: Tensor, logits_b1hw: Tensor, score_b1: Tensor) -> Tensor | None:
        """Spatial memories of a tracked frame; None for too many objects."""
        count = logits_b1hw.shape[0]
        size = batch_size(count)
        if size is None:
            return None
        maskmem: Tensor = self._remember(
            tokens_n1c, filled_up(logits_b1hw, size), filled_up(score_b1, size)
        )
        return maskmem[:count]
