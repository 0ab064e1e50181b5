"""The commands around deployments: `longtake deploy`, `longtake serve`."""

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from flows.cli.options import (
    AssociationOption,
    Detect,
    DetectEvery,
    Labels,
    MaxObjects,
    MinScore,
    ReanchorEvery,
    Text,
)
from tasks.settings import has_prefect_server

DEPLOY_EXAMPLES = """[bold]Examples[/bold]

  longtake deploy --automatic 10

  longtake deploy --type kubernetes --prompts s3://videos/default.prompts.json
    --source s3://videos/tapes/ --destination s3://results"""
SERVE_EXAMPLES = "[bold]Example[/bold]\n\n  longtake serve --automatic 10"
WORKER_EXAMPLES = (
    "[bold]Example[/bold]\n\n"
    "  CUDA_VISIBLE_DEVICES=0 longtake worker --work-queue default --limit 1"
)


class WorkPoolType(str, Enum):
    """What makes the processes that track."""

    PROCESS = "process"
    KUBERNETES = "kubernetes"


_Prompts = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Path or s3:// address of the prompts for videos that have none beside them.",
        show_default=False,
    ),
]
_Automatic = Annotated[
    str | None,
    typer.Option(
        metavar="N",
        help="In such videos, track at most N objects, as `longtake track --automatic` finds them.",
        show_default=False,
    ),
]
_AutomaticOption = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=VALUE", help="As for `longtake track`, such as min_area=0.01."),
]
_Model = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="One of `longtake models`; workers download it. Default: as in infra/prefect.yaml, "
        "sam2.1-tiny.",
        show_default=False,
    ),
]
_Credentials = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="AwsCredentials block of Prefect that runs use. Default: the workers' own AWS "
        "settings.",
        show_default=False,
    ),
]
_Source = Annotated[
    str | None,
    typer.Option(
        metavar="S3",
        help="Sweep s3://bucket/prefix on a schedule: every video that has no result.",
        show_default=False,
    ),
]
_Destination = Annotated[
    str | None,
    typer.Option(
        "-o",
        "--destination",
        metavar="S3",
        help="Where the results of swept videos go.",
        show_default=False,
    ),
]
_File = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Deployments of your own. Default: the infra/prefect.yaml of this installation.",
        show_default=False,
    ),
]
_Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Show tracebacks.")]


def deploy(
    pool: Annotated[
        str, typer.Option(metavar="NAME", help="The work pool; made if need be.")
    ] = "gpu",
    kind: Annotated[
        WorkPoolType | None,
        typer.Option(
            "--type", help="Type of the pool if it is made. Default: process.", show_default=False
        ),
    ] = None,
    prompts: _Prompts = None,
    automatic: _Automatic = None,
    automatic_option: _AutomaticOption = None,
    detect: Detect = None,
    detect_every: DetectEvery = None,
    reanchor_every: ReanchorEvery = None,
    association_option: AssociationOption = None,
    labels: Labels = None,
    text: Text = None,
    min_score: MinScore = None,
    max_objects: MaxObjects = None,
    model: _Model = None,
    credentials: _Credentials = None,
    source: _Source = None,
    destination: _Destination = None,
    notify: Annotated[
        str | None,
        typer.Option(
            metavar="TARGET",
            help="Tell of runs that fail: a block of Prefect as TYPE/NAME, such as "
            'slack-webhook/ops, or the https:// address of a webhook, which gets {"text": ...}.',
            show_default=False,
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="HOURS|off",
            help="Device-hours a day (UTC) that runs of events and sweeps may use, together; what "
            "is over waits for the next day, see `longtake budget`. Default: as it is.",
            show_default=False,
        ),
    ] = None,
    file: _File = None,
    verbose: _Verbose = False,
) -> None:
    """Give the deployments to the Prefect server: segment-video, segment-images and their helpers.

    The server is the one of PREFECT_API_URL. What the options leave out is as in
    infra/prefect.yaml, also if it was changed in Prefect's UI.
    """
    has_prefect_server()
    # Late: this imports prefect and torch.
    from flows.server.deployments import Defaults, find_prefect_file
    from flows.server.deployments import deploy as apply
    from samcore.prompts.options import parse_automatic

    defaults = Defaults(
        prompts=prompts,
        automatic=parse_automatic(
            automatic,
            automatic_option,
            detect=detect,
            detect_every=detect_every,
            reanchor_every=reanchor_every,
            association=association_option,
            labels=labels,
            texts=text,
            min_score=min_score,
            max_objects=max_objects,
        ),
        model=model,
        credentials=credentials,
        source=source,
        destination=destination,
    )
    lines = apply(
        file or find_prefect_file(),
        defaults,
        pool=pool,
        pool_type=None if kind is None else kind.value,
        notify=notify,
        budget=budget,
    )
    for line in lines:
        typer.echo(line)


def serve(
    limit: Annotated[
        int, typer.Option(metavar="N", min=1, help="Videos that are tracked at once.")
    ] = 1,
    prompts: _Prompts = None,
    automatic: _Automatic = None,
    automatic_option: _AutomaticOption = None,
    detect: Detect = None,
    detect_every: DetectEvery = None,
    reanchor_every: ReanchorEvery = None,
    association_option: AssociationOption = None,
    labels: Labels = None,
    text: Text = None,
    min_score: MinScore = None,
    max_objects: MaxObjects = None,
    model: _Model = None,
    credentials: _Credentials = None,
    source: _Source = None,
    destination: _Destination = None,
    file: _File = None,
    verbose: _Verbose = False,
) -> None:
    """Run all deployments by this one process, without work pool and workers.

    For a single machine. The Prefect server is the one of PREFECT_API_URL.
    """
    has_prefect_server()
    # Late, for the same reason.
    from flows.server.deployments import Defaults, find_prefect_file, serve_here
    from samcore.prompts.options import parse_automatic

    defaults = Defaults(
        prompts=prompts,
        automatic=parse_automatic(
            automatic,
            automatic_option,
            detect=detect,
            detect_every=detect_every,
            reanchor_every=reanchor_every,
            association=association_option,
            labels=labels,
            texts=text,
            min_score=min_score,
            max_objects=max_objects,
        ),
        model=model,
        credentials=credentials,
        source=source,
        destination=destination,
    )
    serve_here(file or find_prefect_file(), defaults, limit=limit)


def worker(
    pool: Annotated[str, typer.Option(metavar="NAME", help="The work pool.")] = "gpu",
    work_queue: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Of the pool's queues only this one; can be given again. Default: all.",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Runs at once. Default: any.", show_default=False),
    ] = None,
    healthcheck: Annotated[
        bool,
        typer.Option(
            "--healthcheck", help="Answer at port 8080, /health, whether it reaches the server."
        ),
    ] = False,
    verbose: _Verbose = False,
) -> None:
    """Run on this machine what a work pool is asked for, until SIGTERM or Ctrl-C.

    Ends within seconds, also if the Prefect server is gone; runs at work get 30 s to save where
    they are. A second signal ends all at once.
    """
    has_prefect_server()
    # Late, for the same reason.
    from flows.server.worker import work

    work(pool, queues=work_queue or (), limit=limit, healthcheck=healthcheck)
