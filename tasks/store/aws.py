"""The door to boto3: clients by AWS's settings or a block of Prefect, and what their calls raise.

What a refusal means to a person is said where the server is known: `refusals.py` for object stores,
`queue.py` for queues.
"""

from dataclasses import dataclass
from typing import Any, Literal

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoRegionError
from urllib3.exceptions import HTTPError as WireError

from samcore.errors import InputError
from tasks.settings import aws_region

NO_ANSWER = (BotoCoreError, WireError)
"""What a call raises that got no answer. botocore lets through what urllib3 raises where the body
of a refusal breaks off."""

__all__ = ["NO_ANSWER", "ClientError", "ClientOptions", "aws_client", "one_line", "status_of"]


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """How patient a client is."""

    retry_mode: Literal["standard", "adaptive"] = "adaptive"
    """`adaptive` also slows down where the server asks for it."""
    attempts: int = 8
    """Tries of one call, the first one included."""
    connect_timeout_s: float = 10.0
    """Seconds until a connection stands."""
    read_timeout_s: float = 60.0
    """Seconds without a byte until a connection counts as broken."""


def aws_client(
    service: Literal["s3", "sqs"],
    *,
    credentials: str | None = None,
    options: ClientOptions | None = None,
) -> Any:
    """A boto3 client by the standard AWS settings, or by a credentials block of Prefect.

    Args:
        service: `s3` or `sqs`.
        credentials: Name of an `AwsCredentials` block; None takes the environment, with
            AWS_ENDPOINT_URL, and the AWS configuration files.
        options: How patient it is.

    Raises:
        InputError: No such block, or settings that no client can be made of.
    """
    options = options or ClientOptions()
    config = Config(
        retries={"mode": options.retry_mode, "total_max_attempts": options.attempts},
        connect_timeout=options.connect_timeout_s,
        read_timeout=options.read_timeout_s,
        tcp_keepalive=True,
        # Presigned URLs by the older signature are refused by newer regions and servers.
        signature_version="s3v4" if service == "s3" else None,
    )
    try:
        if credentials is None:
            return boto3.session.Session(region_name=aws_region()).client(service, config=config)
        return _block_client(service, credentials, config)
    except NoRegionError as error:
        raise InputError("no AWS region is set; set AWS_REGION or AWS_DEFAULT_REGION") from error
    except (BotoCoreError, ValueError) as error:
        raise InputError(f"the AWS settings cannot be used: {one_line(error)}") from error


def _block_client(service: Literal["s3", "sqs"], name: str, config: Config) -> Any:
    block = _load_credentials(name)
    parameters = block.aws_client_parameters.get_params_override()
    if region := block.region_name or aws_region():
        parameters["region_name"] = region
    theirs = parameters.pop("config", None)
    parameters["config"] = config.merge(theirs) if theirs is not None else config
    return block.get_boto3_session().client(service, **parameters)


def _load_credentials(name: str) -> Any:
    """The `AwsCredentials` block of this name, of the package prefect-aws.

    Raises:
        InputError: prefect-aws is not installed, or there is no such block.
    """
    try:
        # Late: the package is optional.
        from prefect_aws import (  # type: ignore[import-untyped, import-not-found, unused-ignore]
            AwsCredentials,
        )
    except ImportError as error:
        raise InputError(
            "credentials from a block need the package prefect-aws; install longtake[aws-blocks], "
            "or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        ) from error
    try:
        return AwsCredentials.load(name, _sync=True)
    except ValueError as error:
        raise InputError(
            f"Prefect has no AwsCredentials block {name!r}; create it in the UI under Blocks, or "
            "by its right name"
        ) from error


def status_of(error: ClientError) -> int:
    """The HTTP status of a refusal; 0 if there is none."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def one_line(error: BaseException) -> str:
    """What an error says."""
    return " ".join(str(error).split())
