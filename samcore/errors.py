"""The errors that a caller can act on. Each is also the nearest builtin."""


class SegmentationError(Exception):
    """Root of all errors that say what was wrong, what was wanted and the way out.

    The command line prints such an error as one line and ends with exit code 2; a task retries it
    only if it is a `TransientError`. Anything else is a bug or a fault of the machine.
    """


class TransientError(SegmentationError):
    """What failed for a while: the same call may work later."""


class InputError(SegmentationError, ValueError):
    """A prompt, option or request that cannot be carried out."""


class PictureError(InputError):
    """A picture that is missing, empty, damaged, or none. Others are not affected by it."""


class VideoError(SegmentationError, OSError):
    """A video that is missing, unreadable, damaged before its first frame, or hangs its decoder."""


class TransientVideoError(TransientError, VideoError):
    """An ffmpeg that was killed, crashed, or lacked memory: its work may succeed next time."""


class ModelError(SegmentationError, LookupError):
    """A model name that is not known, or a checkpoint that cannot be had."""


class StateError(SegmentationError, ValueError):
    """A tracker state that is damaged or belongs to another model or video size."""


class StorageError(SegmentationError, OSError):
    """A file that cannot be written or read back: no permission, disk full, damaged."""


class TransientStorageError(TransientError, StorageError):
    """A store that did not answer, was too busy, or broke off."""


class DamagedObjectError(TransientStorageError):
    """What came from a store does not have its checksum: damaged on its way, or in the store."""


class StorageConflictError(StorageError):
    """What is stored is not what this call expected to find: another writer was there first."""


class MissingObjectError(StorageError, FileNotFoundError):
    """There is no such object in the store."""


class LostWorkError(StorageError):
    """Work that was done is gone, damaged or of something else, and has to be done again.

    The flow plans anew when a task raises this, so nobody has to put anything right.
    """


class SeamError(SegmentationError, ArithmeticError):
    """Two chunks disagree about the frames that they share."""


class OutOfMemory(SegmentationError, MemoryError):
    """What was asked does not fit into memory, however little is done at once.

    It may fit when others have let go of theirs, so a task tries it again a few times.
    """
