"""The log of the present run, if there is one."""

import logging
from typing import TYPE_CHECKING, Any

from prefect.exceptions import MissingContextError
from prefect.logging import get_run_logger

if TYPE_CHECKING:
    # An adapter takes a type parameter at run time only from Python 3.11 on.
    Logger = logging.Logger | logging.LoggerAdapter[Any]


def run_logger(name: str) -> "Logger":
    """The Prefect run's log; called without a run, an ordinary one with this name."""
    try:
        return get_run_logger()
    except MissingContextError:
        return logging.getLogger(name)
