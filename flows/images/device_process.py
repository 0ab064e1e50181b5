"""A process that does shards of a run on a device of its own, beside the one that began the run.

It prints a `Said` a line on standard output, and ends when standard input does: its parent, which
holds the other end, has then told it to stop, or is dead.
"""

import contextlib
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable

from flows.commands.process import ProcessEnd, Terminated, raise_on_sigterm
from flows.commands.warnings import WarningTeller
from samcore.chunks.plan import Chunk
from samcore.errors import SegmentationError
from samcore.result.records import Record


class Said(Record):
    """What the process tells its parent; one of these."""

    shard: int | None = None
    """The shard that it is at, by its place in the plan."""
    pictures: int = 0
    """How many pictures of that are done."""
    is_done: bool = False
    """Whether that is done."""
    warning: str = ""
    """For people, one line."""
    error: str = ""
    """Likewise: why it ends."""


def work_off(ref: str, device: str) -> None:
    """Do shards of a run until all are done; for the main thread of a process of its own.

    Args:
        ref: Its `RunRef`, as JSON.
        device: Where.
    """
    end = ProcessEnd()
    speaker = _Speaker()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    code = 0
    try:
        _work(ref, device, speaker.say)
    except Terminated:
        code = 128 + signal.SIGTERM
    except SegmentationError as error:
        code = 2
        speaker.say(Said(error=_line(str(error))))
    except Exception as error:
        code = 1
        traceback.print_exc()
        speaker.say(Said(error=_line(f"{type(error).__name__}: {error}")))
    end.quietly(code, verbose=False)


def _work(ref: str, device: str, say: Callable[[Said], None]) -> None:
    # Late: until these are there, the end of standard input ends the process at once.
    from flows.images.plan import ImagesRun
    from flows.images.shards import do_shards, warn_of_broken
    from tasks.retries import SOURCE_RETRIES, is_transient
    from tasks.run.refs import RunRef
    from tasks.segment_shard import segment_shard
    from tasks.tracking.device_lock import using_device

    run = ImagesRun.of(RunRef.model_validate_json(ref))

    def do(shard: Chunk) -> None:
        delays = iter(SOURCE_RETRIES["retry_delay_seconds"])
        while True:  # as Prefect does with the task
            say(Said(shard=shard.index))
            try:
                done = segment_shard.fn(
                    run.ref,
                    shard.index,
                    lambda pictures: say(Said(shard=shard.index, pictures=pictures)),
                    device,
                )
            except Exception as error:
                delay = next(delays, None)
                if delay is None or not is_transient(error):
                    raise
                say(Said(warning=_line(f"{error}; trying again")))
                time.sleep(delay)
            else:
                warn_of_broken(done)
                say(Said(shard=shard.index, is_done=True))
                return

    raise_on_sigterm()
    with WarningTeller(lambda line: say(Said(warning=line))).attached(), using_device(device):
        do_shards(run, run.record.shards, do, on_end=lambda _: None)


class _Speaker:
    """Writes what is said to standard output as it was; what libraries print goes elsewhere."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        self._lock = threading.Lock()

    def say(self, said: Said) -> None:
        """Tell the parent; if that is dead, this process is about to end, too."""
        with self._lock, contextlib.suppress(BrokenPipeError):
            print(said.model_dump_json(exclude_defaults=True), file=self._out, flush=True)


def _end_with_parent() -> None:
    """End this process as SIGTERM does, once nobody holds the other end of standard input."""
    # Not by sys.stdin: its lock would be held at the end of the process.
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _line(text: str) -> str:
    return " ".join(text.split())
