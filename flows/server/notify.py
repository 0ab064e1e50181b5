"""Have Prefect tell people of runs that failed: one automation on the server."""

from collections.abc import Sequence
from uuid import UUID

import httpx
from prefect.automations import (
    AutomationCore,
    CallWebhook,
    EventTrigger,
    Posture,
    SendNotification,
)
from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import SyncPrefectClient
from prefect.exceptions import ObjectNotFound
from prefect.types import SecretDict
from pydantic import SecretStr

from flows.server.recovery import put_automation
from samcore.errors import InputError

BLOCK = "longtake-failed-runs"
"""The webhook block that is made for an address."""
_WEBHOOK = "webhook"
_SUBJECT = "{{ flow.name }} failed: {{ flow_run.name }}"
_URL = "{% set page = flow_run|ui_url %}"
"""None where the server shows no pages."""
_TEXT = _URL + "{{ flow_run.state.message }}{% if page %} - {{ page }}{% endif %}"
# What Slack, Mattermost and others read; in JSON, whatever the message holds.
_PAYLOAD = _URL + (
    '{"text": {{ (flow.name ~ " failed: " ~ flow_run.name ~ ": " ~ flow_run.state.message'
    ' ~ (" - " ~ page if page else "")) | tojson }}}'
)
_Action = CallWebhook | SendNotification


def find_target(client: SyncPrefectClient, target: str) -> _Action:
    """What is to be called when a run fails.

    Args:
        client: Of the Prefect server.
        target: The address of a webhook, for which a block is made; or a block that is there, as
            TYPE/NAME: one that notifies, such as slack-webhook/ops, or a webhook.

    Raises:
        InputError: There is no such block, or it cannot notify; or the address is none.
    """
    if "://" in target:
        return CallWebhook(block_document_id=_make_webhook(target), payload=_PAYLOAD)
    kind, _, name = target.partition("/")
    if not kind or not name or "/" in name:
        raise InputError(
            f"--notify: wanted a block as TYPE/NAME, such as slack-webhook/ops, or the https:// "
            f"address of a webhook, got {target!r}"
        )
    try:
        block = client.read_block_document_by_name(name, kind)
        able = client.read_block_type_by_slug(kind)
        schema = client.get_most_recent_block_schema_for_block_type(able.id)
    except ObjectNotFound as error:
        raise InputError(
            f"--notify: there is no block {target!r}; make it on the page Blocks of Prefect's UI, "
            "or give the https:// address of a webhook"
        ) from error
    if kind == _WEBHOOK:
        return CallWebhook(block_document_id=block.id, payload=_PAYLOAD)
    if schema is None or "notify" not in schema.capabilities:
        raise InputError(f"--notify: a block of the type {kind!r} cannot notify anybody")
    return SendNotification(block_document_id=block.id, subject=_SUBJECT, body=_TEXT)


def install_notification(client: SyncPrefectClient, action: _Action, flows: Sequence[str]) -> None:
    """Put the automation on the Prefect server, or bring it up to date.

    Args:
        client: Of the server.
        action: As `find_target` gives it.
        flows: Names of the flows whose failed runs are told of.
    """
    put_automation(
        client,
        AutomationCore(
            name="longtake: a failed run is told of",
            description="Crashed runs are not: they are scheduled again, and fail at last if that "
            "does not help.",
            trigger=EventTrigger(
                match={"prefect.resource.id": "prefect.flow-run.*"},
                match_related={
                    "prefect.resource.role": "flow",
                    "prefect.resource.name": list(flows),
                },
                for_each={"prefect.resource.id"},
                expect={"prefect.flow-run.Failed", "prefect.flow-run.TimedOut"},
                posture=Posture.Reactive,
                threshold=1,
            ),
            actions=[action],
        ),
    )


def _make_webhook(address: str) -> UUID:
    """The block of an address; Prefect keeps it encrypted, since many are secrets."""
    try:
        url = httpx.URL(address)
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.scheme not in ("http", "https") or not url.host:
        # Not the address itself: it may be a secret.
        raise InputError("--notify: wanted the http:// or https:// address of a webhook")
    block = Webhook(
        url=SecretStr(address), headers=SecretDict({"Content-Type": "application/json"})
    )
    return UUID(str(block.save(BLOCK, overwrite=True)))
