"""What is removed when a run's result is published, and what must not stop that."""

import pytest

from tasks.locations import S3Location
from tasks.mirror import Mirror
from tasks.storage import ObjectStore
from tests.servers.faults import FaultProxy, Refuse


@pytest.mark.parametrize(
    "refusal", [Refuse(403, "AccessDenied"), Refuse(501, "NotImplemented")], ids=lambda it: it.code
)
def test_uploads_that_cannot_be_listed_stop_nothing(
    refusal: Refuse, faults: FaultProxy, bucket: str
) -> None:
    """Without the right to list uploads, or on a server that cannot, the work is removed."""
    store, prefix = ObjectStore(), S3Location(bucket, "results/clip")
    done = prefix.join(".longtake/runs/abc/chunks/00000/done.json")
    store.put_bytes(done, b"{}")
    faults.set_rule(lambda request: refusal if "uploads" in request.target else None)

    Mirror(prefix, store).remove("abc")

    assert faults.num_faults == 1
    assert store.head(done) is None
