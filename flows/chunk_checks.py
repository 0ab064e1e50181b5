"""What is done with a chunk that is there, while the next one is tracked."""

from collections import deque
from typing import Any

from prefect.futures import PrefectFuture

from tasks.check_seam import check_seam
from tasks.publish_part import publish_part
from tasks.request.segment_request import SegmentRequest
from tasks.run.refs import RunRef


class ChunkChecks:
    """Publishes chunks, and checks their seams, one chunk behind the work."""

    def __init__(self, run: RunRef, request: SegmentRequest) -> None:
        """Nothing is submitted yet.

        Args:
            run: Whose chunks these are.
            request: Says which agreement is wanted.
        """
        self._run = run
        self._request = request
        self._behind: deque[list[PrefectFuture[Any]]] = deque()

    def begin(self, index: int) -> None:
        """Publish chunk `index` and check the seam before it, in threads of the flow.

        A chunk's checks have the time of a whole chunk; a failed one ends the run here.

        Raises:
            SegmentationError: Those of an earlier chunk failed.
        """
        futures: list[PrefectFuture[Any]] = [publish_part.submit(self._run, index)]
        if index > 0:
            futures.append(check_seam.submit(self._run, self._request, index))
        self._behind.append(futures)
        if len(self._behind) > 1:
            self._wait_for_first()

    def wait(self) -> None:
        """Wait for all of them.

        Raises:
            SegmentationError: One failed.
        """
        while self._behind:
            self._wait_for_first()

    def _wait_for_first(self) -> None:
        for future in self._behind.popleft():
            future.result()
