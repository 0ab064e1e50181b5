"""Addresses that carry a secret: a run's parameters are kept readable, so they may not hold one."""

from urllib.parse import parse_qsl, urlsplit

from samcore.errors import InputError

_PREFIXES = ("", "x-amz-", "x-goog-")
_NAMES = (
    *("signature", "credential", "security-token", "sig", "token", "access_token", "auth"),
    *("authorization", "apikey", "api_key", "api-key", "key", "password", "secret"),
)
_SECRETS = frozenset(prefix + name for prefix in _PREFIXES for name in _NAMES)


def _any_case(text: str) -> str:
    """A pattern for it; the browser's expressions have no switch for a part of one."""
    return "".join(f"[{c}{c.upper()}]" if c.isalpha() else c for c in text)


_PREFIX, _NAME = ("|".join(map(_any_case, sorted(words))) for words in (_PREFIXES, _NAMES))
ALLOWED_PATTERN = f"^(?!{_any_case('http')}[sS]?://([^/?]*@|[^?]*[?](.*&)?({_PREFIX})({_NAME})=))"
"""For the form's schema: Prefect's server refuses such an address before it stores it."""


def refuse_secret_query(address: str) -> None:
    """Refuse a web address whose query signs or authorises it, as presigned ones do.

    Raises:
        InputError: One line that does not repeat the secret.
    """
    parts = urlsplit(address)
    if parts.scheme.lower() not in ("http", "https"):
        return
    names = [name for name, _ in parse_qsl(parts.query, keep_blank_values=True)]
    found = next((name for name in names if name.lower() in _SECRETS), None)
    if found is not None:
        raise InputError(
            f"wanted an address without a secret, got one at {parts.hostname} with {found!r} in "
            "it, which would be kept with the run; give s3://bucket/key and the name of a "
            "credentials block, or download it first"
        )
