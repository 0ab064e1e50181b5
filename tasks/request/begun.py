"""A run whose arithmetic is left open goes on in the one that it was begun in."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeVar

from samcore.models.registry import ModelSpec
from tasks.request.places import AsksForPlace
from tasks.run.mirror import open_mirror

if TYPE_CHECKING:
    from samcore.machine.device import Compute


class _Run(Protocol):
    """What the records of all kinds of runs say."""

    @property
    def model(self) -> ModelSpec: ...
    @property
    def result_key(self) -> str: ...
    @property
    def work_key(self) -> str: ...


_R = TypeVar("_R", bound=_Run)


def as_begun(
    run: _R,
    in_dtype: Callable[[str], _R],
    request: AsksForPlace,
    *,
    compute: "Compute",
    published: str | None,
) -> _R:
    """The run in the arithmetic that it was begun or finished in, on whatever machine.

    `auto` may choose another one here. The run would then be another one, which begins anew.

    Args:
        run: In the arithmetic that `auto` takes here.
        in_dtype: Gives the same run in another one.
        request: What is asked.
        compute: What `auto` takes here.
        published: The key of the result at the destination.

    Raises:
        InputError: It was begun in an arithmetic that does not work on this machine.
    """
    from samcore.machine.device import choose_compute  # late: they import torch
    from samcore.machine.precision import auto_dtypes
    from samcore.run.work_folder import WorkFolder

    dtypes = auto_dtypes(compute.device.type, run.model)
    runs = {compute.dtype_name: run}
    runs |= {dtype: in_dtype(dtype) for dtype in dtypes if dtype not in runs}
    if len(runs) == 1:
        return run
    for found in runs.values():
        if found.result_key == published:
            return found
    mirror = open_mirror(request.destination_place, request.credentials)
    for dtype, found in runs.items():
        is_here = WorkFolder.for_key(request.work_path, found.work_key).path.exists()
        if is_here or (mirror is not None and mirror.has(found.work_key)):
            choose_compute(str(compute.device), dtype)  # says if it cannot, or slowly
            return found
    return run
