"""The command `longtake listen`."""

import logging
import sys
from typing import Annotated

import typer

from samcore.errors import InputError
from tasks.settings import has_prefect_server

EXAMPLES = (
    "[bold]Example[/bold]\n\n"
    "  longtake listen --queue https://sqs.eu-west-1.amazonaws.com/123456789012/longtake\n"
    "    --destination s3://results"
)


def listen(
    queue: Annotated[
        str,
        typer.Option(
            metavar="URL",
            help="The SQS queue that the bucket's events go to, directly, by SNS or by "
            "EventBridge.",
            show_default=False,
        ),
    ],
    destination: Annotated[
        str,
        typer.Option(
            "-o",
            "--destination",
            metavar="S3",
            help="Where results go: that of the video a/b.mp4 to a/b.mp4/ below this.",
            show_default=False,
        ),
    ],
    deployment: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Whose runs are started. Its own parameters say what to track in videos that have "
            "no .prompts.json beside them. segment-images/segment-images is for pictures.",
        ),
    ] = "segment-video/segment-video",
    prefix: Annotated[
        str, typer.Option(metavar="TEXT", help="Only videos whose keys begin with this.")
    ] = "",
    suffix: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT",
            help="Only objects whose keys end with this; can be given again. Default: .mp4, .mov, "
            ".mkv, .webm, .avi; for segment-images .jpg, .png and other pictures.",
            show_default=False,
        ),
    ] = None,
    credentials: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="AwsCredentials block of Prefect for queue and buckets. Default: the AWS "
            "settings of the environment.",
            show_default=False,
        ),
    ] = None,
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", help="Log every event, and show tracebacks.")
    ] = False,
) -> None:
    """Start a run for every video that arrives in a bucket, until SIGTERM or Ctrl-C.

    Each version of an object gets one run, however often and in whatever order its events come.

    Killed, restarted, or two at once? Nothing is lost, and nothing is started twice.
    """
    has_prefect_server()
    # Late: these import prefect.
    from flows.arrivals.kinds import kind_of
    from flows.arrivals.listener import Listener
    from flows.arrivals.video_runs import VideoFilter, VideoRuns
    from flows.commands.process import Ending
    from flows.server.deployment import Deployment
    from tasks.store.locations import S3Location, parse_location
    from tasks.store.object_store import ObjectStore
    from tasks.store.queue import MessageQueue

    place = parse_location(destination)
    if not isinstance(place, S3Location):
        raise InputError(f"--destination: wanted s3://bucket or s3://bucket/prefix, got {place}")
    if suffix is not None and "" in suffix:
        raise InputError("--suffix: wanted an ending such as .mp4, got nothing")
    with Deployment(deployment) as opened:
        store = ObjectStore(credentials)
        listener = Listener(
            MessageQueue(queue, credentials=credentials),
            VideoRuns(store, opened, place, credentials=credentials),
            VideoFilter(
                place, prefix=prefix, suffixes=tuple(suffix or kind_of(deployment).suffixes)
            ),
            on_signal=Ending().tell,
        )
        _log_to_terminal(verbose)
        listener.run()


def _log_to_terminal(verbose: bool) -> None:
    """Lines with a time: a listener's output is read long after."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("flows")
    logger.handlers = [handler]  # Prefect has put its own there, which need a run
    logger.setLevel(logging.DEBUG if verbose else logging.INFO)
    logger.propagate = False
