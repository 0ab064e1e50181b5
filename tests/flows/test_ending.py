"""What runs until it is told to stop ends soon then, whatever is gone."""

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate

from tests.servers.aws import AwsServer
from tests.servers.faults import FaultProxy, Request, Slow
from tests.servers.forked_commands import ROOT, WarmCommands

LIMIT_S = 120.0
NEVER_S = 10_000.0
"""Longer than any test waits."""
SIGNALS = (signal.SIGTERM, signal.SIGINT)

HANGING = """
import asyncio, subprocess, sys
from flows.commands.process import Ending, run_until_told

Ending.GRACE_S, Ending.RUNS_S = float(sys.argv[1]), float(sys.argv[2])

async def work():
    run = subprocess.Popen([sys.executable, "-c", sys.argv[3]], stdin=subprocess.PIPE)
    print(run.pid, flush=True)
    try:
        await asyncio.sleep(10_000)
    finally:
        while True:  # as what asks a server that is gone, again and again
            print("asking", flush=True)
            await asyncio.sleep(0.05)

run_until_told(work())
"""
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(10_000)"


class Hanging:
    """A command whose way out never ends, and a run that it has started; a context manager."""

    def __init__(self, grace_s: float, runs_s: float, run: str = STUBBORN) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HANGING, str(grace_s), str(runs_s), run],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.run = psutil.Process(int(self.line()))

    def __enter__(self) -> "Hanging":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()
        if self.run.is_running():
            self.run.kill()

    def line(self) -> str:
        """The next line that it prints."""
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def end(self) -> int:
        """Wait for its end, and for that of its run; the exit code."""
        self.process.communicate(timeout=LIMIT_S)
        psutil.wait_procs([self.run], timeout=LIMIT_S)
        assert not self.run.is_running()
        return self.process.returncode


@pytest.mark.parametrize("number", SIGNALS)
def test_an_end_that_hangs_is_cut_short(number: signal.Signals) -> None:
    """After its time a process ends that still has something to do, and takes its runs along."""
    with Hanging(0.1, 0.3) as hanging:
        hanging.process.send_signal(number)
        assert hanging.end() == 128 + number


@pytest.mark.parametrize("number", SIGNALS)
def test_a_second_signal_ends_at_once(number: signal.Signals) -> None:
    """Whatever the first one has begun."""
    with Hanging(NEVER_S, NEVER_S) as hanging:
        hanging.process.send_signal(number)
        assert hanging.line() == "asking\n"
        hanging.process.send_signal(number)
        assert hanging.end() == 128 + number


def test_runs_save_where_they_are() -> None:
    """A process whose time is over waits for the runs that it has started, and ends with them."""
    with Hanging(0.1, NEVER_S) as hanging:
        hanging.process.send_signal(signal.SIGTERM)
        for _ in range(20):
            assert hanging.line() == "asking\n"
        assert hanging.process.poll() is None
        hanging.run.kill()
        assert hanging.end() == 128 + signal.SIGTERM


@pytest.mark.slow
def test_nobody_waits_for_a_server_that_is_gone(
    prefect_api: str, aws: AwsServer, tmp_path: Path
) -> None:
    """`serve` and `worker` have a Prefect server that is gone when they are told to stop, and the
    listener a queue that does not answer: all of them end."""
    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name="ending", type="process"))
    for bucket in ("videos", "results"):
        aws.client("s3").create_bucket(Bucket=bucket)
    queue = aws.client("sqs").create_queue(QueueName="ending")["QueueUrl"]
    place = urlsplit(queue).path

    def hang(request: Request) -> Slow | None:
        return Slow(NEVER_S) if asks_for_messages(request) else None

    def asks_for_messages(request: Request) -> bool:
        return request.headers.get("x-amz-target", "").endswith("ReceiveMessage")

    with (
        contextlib.ExitStack() as away,
        FaultProxy(aws.environment()["AWS_ENDPOINT_URL"]) as slow,
        contextlib.ExitStack() as stack,
    ):
        prefect = away.enter_context(FaultProxy(prefect_api))
        settings = {"PREFECT_API_URL": f"{prefect.endpoint}/api"}
        commands = stack.enter_context(WarmCommands(tmp_path, settings))
        slow.set_rule(hang)
        serving = commands.start(["serve"])
        _wait(lambda: "serving" in serving.out or serving.poll() is not None)
        listening = commands.start(
            ["listen", "--queue", slow.endpoint + place, "-o", "s3://results"],
            AWS_ENDPOINT_URL=slow.endpoint,
        )
        working = commands.start(["worker", "--pool", "ending"])
        _wait(lambda: "started" in working.out or working.poll() is not None)
        _wait(
            lambda: (
                any(asks_for_messages(one.request) for one in list(slow.exchanges))
                or listening.poll() is not None
            )
        )
        away.close()
        all_of_them = (serving, working, listening)
        for command in all_of_them:
            assert command.poll() is None, command.err
            command.kill(signal.SIGTERM)
        for command in all_of_them:
            assert command.wait() in (0, 128 + signal.SIGTERM, 128 + signal.SIGINT), command.err


def _wait(found: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.05)
