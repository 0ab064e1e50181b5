"""AWS credentials that Prefect keeps in a block."""

from typing import Any

from samcore.errors import InputError


def load_credentials(name: str) -> Any:
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
