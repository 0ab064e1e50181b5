"""From the options of `longtake track` to the request for one video."""

from collections.abc import Mapping
from typing import Any

import typer

from flows.cli.options import given_fields
from samcore.chunks.handoff import find_handoff
from samcore.errors import InputError
from samcore.prompts.options import (
    merge_options,
    parse_automatic,
    parse_box_option,
    parse_mask_option,
    parse_masks_option,
    parse_point_option,
)
from samcore.tracking.memory.options import parse_policy_options
from tasks.request.segment_request import SegmentRequest, validate_request


def track_request(ctx: typer.Context, params: Mapping[str, Any]) -> SegmentRequest:
    """What is asked of one video.

    Args:
        ctx: Of the command.
        params: The values of all its parameters, by name; `source` is the one video.

    Raises:
        InputError: Options do not go together, or a value is wrong.
    """
    options = (
        [parse_box_option(text) for text in params["box"] or ()],
        [parse_point_option(text) for text in params["point"] or ()],
        [parse_mask_option(text) for text in params["mask"] or ()],
        [parse_masks_option(text) for text in params["masks"] or ()],
    )
    prompts, detect, text = params["prompts"], params["detect"], params["text"]
    found = parse_automatic(
        params["automatic"],
        params["automatic_option"],
        detect=detect,
        detect_every=params["detect_every"],
        reanchor_every=params["reanchor_every"],
        association=params["association_option"],
        labels=params["labels"],
        texts=text,
        min_score=params["min_score"],
        max_objects=params["max_objects"],
    )
    ways = (any(options), prompts is not None, found is not None)
    beside = found is not None and (
        found.detect_every is not None or find_handoff(params["handoff"] or "memory").is_parallel
    )
    if sum(ways) - beside > 1:
        way = "--detect" if detect else "--text" if text else "--automatic"
        with_it = "" if beside or found is None else ", or --detect-every N to have both"
        raise InputError(
            f"give --box, --point, --mask and --masks, or --prompts, or {way}; not both{with_it}"
        )
    if not any(ways) and params["warm_start"] is None:
        raise InputError(
            "no prompts: give --box, --point, --mask or --masks, --prompts FILE, --automatic N, "
            "--detect NAME or --text WORDS to find objects, or --warm-start STATE to begin with "
            "those of another video"
        )
    fields = given_fields(ctx, params)
    fields["settings"]["memory_policy_options"] = parse_policy_options(
        params["memory_policy"] or "sam2", params["memory_policy_option"]
    )
    return validate_request(
        **fields,
        prompts=merge_options(*options) if any(options) else prompts,
        automatic=found,
        credentials=params["credentials"],
        further_parts=tuple(params.get("further_parts", ())),
        # These files were named by the person at the keyboard; those in a file were not.
        any_mask_path=prompts is None,
    )
