"""The family of the sam2 package: its configurations, and how a model is built.

Imports neither torch nor sam2 until a model is built.
"""

import hashlib
from typing import TYPE_CHECKING

from samcore.models.sam2.configs import (
    check_image_size,
    config_default_size,
    config_file,
    config_num_maskmem,
    find_config,
)

if TYPE_CHECKING:
    from samcore.machine.device import Compute
    from samcore.models.family import TrackingModel
    from samcore.models.registry import ModelSpec


class Sam2Family:
    """SAM 2 and 2.1; a configuration is a name of the sam2 package's, or a file's path."""

    def find_config(self, config: str) -> str:
        return find_config(config)

    def config_digest(self, config: str) -> str:
        return hashlib.sha256(config_file(config).read_bytes()).hexdigest()

    def default_image_size(self, config: str) -> int:
        return config_default_size(config)

    def num_maskmem(self, config: str) -> int | None:
        return config_num_maskmem(config)

    def check_image_size(self, config: str, image_size: int) -> None:
        check_image_size(config, image_size)

    def check_files(self, spec: "ModelSpec") -> None:
        from samcore.models.sam2.network import build_network

        build_network(spec.config, spec.checkpoint, seed=spec.seed, image_size=spec.image_size)

    def build(self, spec: "ModelSpec", compute: "Compute") -> "TrackingModel":
        from samcore.machine.compiling import Compiler, check_can_compile
        from samcore.models.sam2.adapter import build_model

        if spec.is_compiled:
            check_can_compile(compute.device)
        return build_model(
            spec.config,
            spec.checkpoint,
            seed=spec.seed,
            image_size=spec.image_size,
            fingerprint=spec.fingerprint,
            compute=compute,
            plain=spec.is_plain,
            compiler=Compiler() if spec.is_compiled else None,
        )
