"""What a run takes from the finished one at its destination, instead of tracking it."""

from samcore.run.correction import Correction, begin_correction
from samcore.run.folder import RunFolder
from tasks.results.open import open_result_store
from tasks.run.refs import RunRef


def take_finished(run: RunRef) -> Correction | None:
    """Take what other prompts leave as it was; None if all is tracked. Only with the run's lock
    held.

    Work on a result in a bucket goes on on any machine, so none of it rests on a folder here.

    Raises:
        LostWorkError: The finished run's work is gone or damaged.
        StorageError: The run's folder, or the destination, cannot be used.
    """
    if run.in_bucket:
        return None
    there = open_result_store(run).listed()
    folder = RunFolder.from_ref(run)
    correction = begin_correction(folder, None if there is None else there.request)
    if correction is not None:
        correction.carry(keep_states=run.keep_states)
    return correction
