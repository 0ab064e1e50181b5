"""Task: the prompt pass, over just the prompted frames."""

import time

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed

from tasks.files import seal
from tasks.logs import run_logger
from tasks.records import PassRecord, RunRef
from tasks.retries import retry_transient
from tasks.run_folder import RunFolder
from tasks.tracking import open_workbench


@task(
    name="encode-prompts",
    task_run_name="{run.video}: encode prompts",
    retries=2,
    retry_delay_seconds=[2, 10],
    retry_condition_fn=retry_transient,
    cache_policy=NO_CACHE,  # the run's folder is the record of what is done
    persist_result=False,
)
def encode_prompts(run: RunRef) -> int | State[int]:
    """Encode all prompts before the first frame is tracked; the number of prompted frames.

    Later prompts are seen by earlier frames, so they come first; the state after them is what the
    first chunk begins with.
    """
    folder = RunFolder.at(run)
    done = folder.prompt_pass()
    if done is not None:
        return Completed(name="Resumed", data=done.frames)
    started = time.monotonic()
    bench = open_workbench(folder)
    prompts = folder.prompts()
    tracker = bench.new_tracker(prompts, start=bench.record.start)
    tracker.state().save(folder.prompt_state_path)
    frames = len({prompt.frame_idx for prompt in prompts})
    seconds = time.monotonic() - started
    folder.finish_prompt_pass(
        PassRecord(state=seal(folder.prompt_state_path), frames=frames, seconds=seconds)
    )
    run_logger(__name__).info("encoded %d prompted frames in %.1f s", frames, seconds)
    return frames
