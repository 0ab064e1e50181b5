"""When a tracker gives masks: at once, or some frames late."""

from abc import ABC, abstractmethod
from collections.abc import Iterator

from samcore.identities.ledger import Track
from samcore.masks.frame_masks import FrameMasks


class GivesMasks(ABC):
    """What whoever writes masks asks of a tracker; here they come at once."""

    delay = 0
    """Frames that have to be tracked after a frame before `track` gives its masks."""

    @property
    @abstractmethod
    def next_frame(self) -> int:
        """The frame that `track` wants next."""

    @property
    def first_held(self) -> int:
        """The first frame whose masks did not come yet."""
        return self.next_frame

    def finish(self) -> Iterator[FrameMasks]:
        """Give the masks that are held back, as no frame comes any more."""
        return iter(())

    def found(self, start: int, stop: int) -> tuple[Track, ...]:
        """What is known of the objects that a detection began on frames [start, stop); by id.

        To be asked once the masks of these frames have come: earlier there may be mistakes.
        """
        return ()
