"""A memory policy's constants as they are given on a command line."""

from collections.abc import Iterable

from samcore.errors import InputError
from samcore.named_values import parse_named_values
from samcore.tracking.memory.policy import POLICIES, Json, PolicyOptions, policy_options


def parse_policy_options(policy: str, items: Iterable[str] | None) -> Json:
    """Read any number of `--memory-policy-option`, `NAME=VALUE`, of a policy.

    Returns:
        What was given, as `TrackSettings.memory_policy_options` takes it.

    Raises:
        InputError: There is no such policy, or one line that quotes the option and shows the
            wanted form.
    """
    given = list(items or ())
    options: type[PolicyOptions] = POLICIES.get(policy).load().Options
    if given and not options.model_fields:
        raise InputError(f"--memory-policy-option: the memory policy {policy} has no options")
    names = tuple(options.model_fields)
    such_as = "".join(f"{name}={options.model_fields[name].default}" for name in names[-1:])
    values = parse_named_values("--memory-policy-option", given, options, names, such_as)
    return policy_options(policy, values).model_dump(mode="json", include=set(values))
