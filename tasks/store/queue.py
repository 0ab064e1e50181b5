"""A queue of messages (SQS): received, kept from other readers while at work, deleted when done."""

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from samcore.errors import InputError, StorageError, TransientStorageError
from tasks.store.aws import NO_ANSWER, ClientError, ClientOptions, aws_client, status_of

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import ChangeMessageVisibilityBatchRequestEntryTypeDef

BATCH = 10
"""The most messages that SQS hands out, or takes back, in one call."""
LONGEST_WAIT_S = 20
"""The longest that SQS lets a call wait for a message."""
_MISSING = {"QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue", "NonExistentQueue"}
_REFUSED = {
    "AccessDenied": "these credentials do not allow it; see infra/aws for what the listener needs",
    "InvalidClientTokenId": "the server does not know this access key; check AWS_ACCESS_KEY_ID",
    "UnrecognizedClientException": "the server does not know this access key; check "
    "AWS_ACCESS_KEY_ID",
    "SignatureDoesNotMatch": "the secret key is wrong; check AWS_SECRET_ACCESS_KEY",
    "ExpiredToken": "the session token has expired; get new credentials",
    "InvalidAddress": "the address is not a queue's",
}
_SAME = {
    "AccessDeniedException": "AccessDenied",
    "403": "AccessDenied",
    "ExpiredTokenException": "ExpiredToken",
}
_THROTTLED = {"RequestThrottled", "ThrottlingException", "Throttling", "OverLimit"}


@dataclass(frozen=True, slots=True)
class Message:
    """One message, as handed out once."""

    id: str
    """Names it in logs; the same each time that it is handed out."""
    body: str
    """What somebody wrote: not to be trusted."""
    receipt: str
    """Stands for this handing out; deleting needs it."""
    received: int
    """How many times it was handed out, this time included."""


@dataclass(frozen=True, slots=True)
class QueueTraits:
    """How a queue is set up."""

    visibility_s: int
    """A message that was handed out comes again after this many seconds, unless it is held."""
    max_receives: int | None
    """A message handed out more often goes to the dead-letter queue; None if there is none."""


class MessageQueue:
    """A queue by its URL. Holds connections and cannot be pickled; threads may share it."""

    def __init__(self, url: str, *, credentials: str | None = None) -> None:
        """Nothing is called yet.

        Args:
            url: As SQS gives it, https://sqs.REGION.amazonaws.com/ACCOUNT/NAME.
            credentials: Name of an AwsCredentials block of Prefect; None takes the AWS settings.

        Raises:
            InputError: No URL, no such block, or settings that no client can be made of.
        """
        if not url.startswith(("https://", "http://")):
            raise InputError(f"a queue is given by its URL, https://…, got {url!r}")
        self.url = url
        # Two tries a call: the listener itself waits, and says so, when the queue is away.
        options = ClientOptions(
            retry_mode="standard", attempts=2, read_timeout_s=LONGEST_WAIT_S + 20
        )
        self._sqs: SQSClient = aws_client("sqs", credentials=credentials, options=options)

    def traits(self) -> QueueTraits:
        """How the queue is set up.

        Raises:
            StorageError: No such queue, no permission.
        """
        with self._calls("read the settings of"):
            found = self._sqs.get_queue_attributes(
                QueueUrl=self.url, AttributeNames=["VisibilityTimeout", "RedrivePolicy"]
            )
        attributes = {str(name): text for name, text in found.get("Attributes", {}).items()}
        max_receives = None
        if "RedrivePolicy" in attributes:
            with contextlib.suppress(ValueError, KeyError, TypeError):
                max_receives = int(json.loads(attributes["RedrivePolicy"])["maxReceiveCount"])
        return QueueTraits(int(attributes.get("VisibilityTimeout", "30")), max_receives)

    def receive(self, *, wait_s: int) -> tuple[Message, ...]:
        """Up to ten messages; waits `wait_s` seconds for the first, and may come back with none.

        Not to be broken off: the server may go on, and hand out messages that nobody gets.

        Raises:
            StorageError: No such queue, no permission.
        """
        with self._calls("receive from"):
            answer = self._sqs.receive_message(
                QueueUrl=self.url,
                MaxNumberOfMessages=BATCH,
                WaitTimeSeconds=wait_s,
                # Both names of one option: the second is what older servers know.
                MessageSystemAttributeNames=["ApproximateReceiveCount"],
                AttributeNames=["ApproximateReceiveCount"],
            )
        return tuple(
            Message(
                id=message.get("MessageId", ""),
                body=message.get("Body", ""),
                receipt=message["ReceiptHandle"],
                received=int(message.get("Attributes", {}).get("ApproximateReceiveCount", "1")),
            )
            for message in answer.get("Messages", [])
        )

    def delete(self, messages: Sequence[Message]) -> None:
        """Take messages out of the queue for good; at most ten.

        One whose time is over comes again, and cannot be deleted by this receipt: no error.

        Raises:
            StorageError: No permission.
        """
        if not messages:
            return
        with self._calls("delete from"):
            self._sqs.delete_message_batch(
                QueueUrl=self.url,
                Entries=[
                    {"Id": str(place), "ReceiptHandle": message.receipt}
                    for place, message in enumerate(messages)
                ],
            )

    def hold(self, messages: Sequence[Message], seconds: int) -> None:
        """Keep messages from other readers for `seconds` from now; 0 gives them back. At most ten.

        Raises:
            StorageError: No permission.
        """
        if not messages:
            return
        entries: list[ChangeMessageVisibilityBatchRequestEntryTypeDef] = [
            {"Id": str(place), "ReceiptHandle": message.receipt, "VisibilityTimeout": seconds}
            for place, message in enumerate(messages)
        ]
        with self._calls("hold messages of"):
            self._sqs.change_message_visibility_batch(QueueUrl=self.url, Entries=entries)

    @contextlib.contextmanager
    def _calls(self, doing: str) -> Iterator[None]:
        """Turn what boto3 raises into one line of ours."""
        what = f"cannot {doing} the queue {self.url}"
        try:
            yield
        except ClientError as error:
            raise _explain(what, error) from error
        except NO_ANSWER as error:
            if type(error).__name__ in ("NoCredentialsError", "PartialCredentialsError"):
                raise StorageError(
                    f"{what}: there are no credentials; set AWS_ACCESS_KEY_ID and "
                    "AWS_SECRET_ACCESS_KEY, or give --credentials"
                ) from error
            raise TransientStorageError(f"{what}: no answer ({type(error).__name__})") from error


def _explain(what: str, error: ClientError) -> StorageError:
    said = error.response.get("Error", {})
    code = _SAME.get(str(said.get("Code", "")), str(said.get("Code", "")))
    status = status_of(error)
    if code in _MISSING or said.get("QueryErrorCode") in _MISSING:
        return StorageError(f"{what}: there is no such queue; check its URL and AWS_ENDPOINT_URL")
    if code in _REFUSED:
        return StorageError(f"{what}: {_REFUSED[code]}")
    if code in _THROTTLED or status >= 500 or status == 429:
        return TransientStorageError(f"{what}: the server is busy or has a fault ({code})")
    message = " ".join(str(said.get("Message", "")).split())[:160]
    return StorageError(f"{what}: the server refused ({code}, status {status}): {message}")
