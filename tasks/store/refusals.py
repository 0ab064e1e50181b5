"""What an object store's refusals mean to a person: one line, with the way out."""

from samcore.errors import (
    MissingObjectError,
    StorageConflictError,
    StorageError,
    TransientStorageError,
)

_TRANSIENT = {
    "ConditionalRequestConflict",
    "IncompleteBody",
    "InternalError",
    "OperationAborted",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "RequestTimeout",
    "ServiceUnavailable",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
}
_DAMAGED = {
    "BadDigest",
    "InvalidDigest",
    "XAmzContentChecksumMismatch",
    "XAmzContentSHA256Mismatch",
}
_TRANSIENT_STATUS = {408, 425, 429}
_REGION = {"AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}
_REASONS = {
    "NoSuchBucket": "there is no such bucket; check its name, and AWS_ENDPOINT_URL",
    "NoSuchKey": "there is no such object",
    "NoSuchVersion": "there is no such version of it",
    # S3 says so of absent objects, too, to those who may not list the bucket.
    "AccessDenied": "these credentials do not allow it, or may not know that it is not there; ask "
    "the bucket's owner for the permission",
    "AllAccessDisabled": "the bucket's owner has blocked all access",
    "InvalidAccessKeyId": "the server does not know this access key; check AWS_ACCESS_KEY_ID",
    "SignatureDoesNotMatch": "the secret key is wrong; check AWS_SECRET_ACCESS_KEY",
    "InvalidToken": "the session token is not valid; get new credentials",
    "ExpiredToken": "the session token has expired; get new credentials and run again",
    "RequestTimeTooSkewed": "this machine's clock is wrong; set it and run again",
    "RequestExpired": "this machine's clock is wrong; set it and run again",
    "InvalidObjectState": "it is archived; restore it first",
    "InvalidBucketName": "the server does not take this bucket name",
    "EntityTooLarge": "it is larger than the server takes",
    "QuotaExceeded": "the bucket's quota is used up; free some space",
    "KMS.AccessDeniedException": "these credentials may not use the bucket's encryption key",
    "NotImplemented": "the server does not have this function",
}
_SAME = {
    "404": "NoSuchKey",
    "NotFound": "NoSuchKey",
    "403": "AccessDenied",
    "Forbidden": "AccessDenied",
    "AccessForbidden": "AccessDenied",
    "ExpiredTokenException": "ExpiredToken",
    "TokenRefreshRequired": "ExpiredToken",
    "InvalidClientTokenId": "InvalidAccessKeyId",
    "UnrecognizedClientException": "InvalidAccessKeyId",
    "InsufficientStorage": "QuotaExceeded",
    "507": "QuotaExceeded",
}

_NO_CREDENTIALS = {
    "NoCredentialsError",
    "PartialCredentialsError",
    "CredentialRetrievalError",
    "TokenRetrievalError",
    "SSOError",
    "NoAuthTokenError",
}
_NO_CONNECTION = {"EndpointConnectionError", "ConnectTimeoutError", "ProxyConnectionError"}
_MALFORMED = {"ParamValidationError", "InvalidRegionError"}


def explain_failure(what: str, endpoint: str, kinds: set[str], said: str) -> StorageError:
    """The error for a call that got no answer.

    Args:
        what: What was tried on what, such as `cannot read s3://bucket/key`.
        endpoint: Host and port.
        kinds: Names of the exception's class and of all that it derives from.
        said: Its text; shown only where it speaks of parameters, as others hold addresses.
    """
    if kinds & _NO_CREDENTIALS:
        return StorageError(
            f"{what}: no AWS credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
            "AWS_PROFILE, or name a credentials block"
        )
    if "SSLError" in kinds:
        return StorageError(
            f"{what}: the certificate of {endpoint} is not trusted; set AWS_CA_BUNDLE to its "
            "authority's"
        )
    if kinds & _MALFORMED:
        return StorageError(f"{what}: {said}")
    if kinds & _NO_CONNECTION:
        return TransientStorageError(
            f"{what}: no connection to {endpoint}; check the network, and AWS_ENDPOINT_URL"
        )
    if "FlexibleChecksumError" in kinds:
        return TransientStorageError(f"{what}: what came does not have its checksum")
    return TransientStorageError(f"{what}: the connection to {endpoint} broke")


def explain_refusal(
    what: str, *, code: str, status: int, message: str, region: str | None = None
) -> StorageError:
    """The error for what a server answered.

    Args:
        what: What was tried on what, such as `cannot read s3://bucket/key`.
        code: The S3 error code, or the status as text where the answer had no body.
        status: The HTTP status.
        message: The server's own words; shown only for codes that are not known.
        region: Where the bucket lies, if the server said so.
    """
    code = _SAME.get(code, code)
    if code in ("PreconditionFailed", "412"):
        return StorageConflictError(f"{what}: it has been changed by another writer")
    if code in _REASONS:
        kind = MissingObjectError if code in ("NoSuchKey", "NoSuchVersion") else StorageError
        return kind(f"{what}: {_REASONS[code]}")
    if code in _REGION or status in (301, 307):
        where = f" {region}" if region else ""
        return StorageError(f"{what}: the bucket is in another region; set AWS_REGION{where}")
    if code in _DAMAGED:
        return TransientStorageError(f"{what}: the bytes were damaged on their way to the server")
    if code in _TRANSIENT or status in _TRANSIENT_STATUS or status >= 500:
        return TransientStorageError(f"{what}: the server is busy or has a fault ({code})")
    said = " ".join(message.split())[:160]
    return StorageError(f"{what}: the server refused ({code}, status {status}): {said}")
