"""Options of the mask generator: the parameters of SAM 2's own, under this house's names."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

_Share = Annotated[float, Field(ge=0, le=1)]
_Grid = tuple[tuple[_Share, _Share], ...]


class EverythingOptions(BaseModel):
    """How everything on a picture is segmented. The defaults are those of the sam2 package."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    points_per_side: int = Field(
        default=32,
        ge=1,
        le=256,
        title="Points per side",
        description="The model is asked at this many points across and down the picture.",
    )
    points_per_batch: int = Field(
        default=64,
        ge=1,
        le=4096,
        title="Points per batch",
        description="Points that the decoder takes at once, if memory allows.",
    )
    min_predicted_iou: float = Field(
        default=0.8,
        ge=0,
        le=1,
        title="Least predicted IoU",
        description="How good the model must think a mask is, 0 to 1.",
    )
    min_stability: float = Field(
        default=0.95,
        ge=0,
        le=1,
        title="Least stability",
        description="How sharp the edge of a mask must be, 0 to 1.",
    )
    stability_offset: float = Field(
        default=1.0,
        gt=0,
        title="Stability offset",
        description="The edge is sharp if cutting at this logit more and less gives nearly one "
        "mask.",
    )
    mask_threshold: float = Field(
        default=0.0,
        title="Mask threshold",
        description="Logits above this are inside the mask.",
    )
    box_nms_iou: float = Field(
        default=0.7,
        ge=0,
        le=1,
        title="Same box",
        description="IoU of two masks' boxes above which the worse mask is left out.",
    )
    crop_layers: int = Field(
        default=0,
        ge=0,
        le=4,
        title="Crop layers",
        description="Layers of crops that are looked at besides the whole picture: layer n has "
        "2^n times 2^n crops. They find small objects.",
    )
    crop_nms_iou: float = Field(
        default=0.7,
        ge=0,
        le=1,
        title="Same box, between crops",
        description="IoU of boxes above which the mask of the larger crop is left out.",
    )
    crop_overlap: float = Field(
        default=512 / 1500,
        ge=0,
        lt=1,
        title="Crop overlap",
        description="How far crops of the first layer overlap, as a part of the picture's shorter "
        "side; further layers overlap less.",
    )
    crop_points_downscale: int = Field(
        default=1,
        ge=1,
        le=32,
        title="Fewer points in crops",
        description="Layer n has its points per side divided by the n-th power of this.",
    )
    point_grids: tuple[_Grid, ...] | None = Field(
        default=None,
        title="Point grids",
        description="Points of each layer, x and y as parts of the crop's sides, in place of "
        "points_per_side.",
    )
    min_region_area: int = Field(
        default=0,
        ge=0,
        title="Least region",
        description="Holes and specks of at most this many pixels are filled and removed; pixels "
        "of the mask as the model gives it, a quarter of its input's.",
    )
    use_m2m: bool = Field(
        default=False,
        title="Refine",
        description="Give each mask to the model once more, together with its point.",
    )
    multimask: bool = Field(
        default=True,
        title="Three masks a point",
        description="Take three candidates for each point, and not one.",
    )

    @model_validator(mode="after")
    def _has_a_grid_for_each_layer(self) -> "EverythingOptions":
        if self.point_grids is not None and len(self.point_grids) <= self.crop_layers:
            raise ValueError(
                f"point_grids: wanted one for the picture and one for each of {self.crop_layers} "
                f"layers, got {len(self.point_grids)}"
            )
        return self
