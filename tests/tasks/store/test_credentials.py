"""AWS credentials from a block of Prefect."""

import sys

import pytest
from prefect_aws import AwsCredentials
from prefect_aws.client_parameters import AwsClientParameters

from samcore.errors import InputError
from tasks.store.locations import S3Location
from tasks.store.object_store import ObjectStore
from tests.servers.swift import ACCESS_KEY, REGION, SECRET_KEY, SwiftServer


@pytest.mark.usefixtures("prefect_api")
def test_a_block_leads_to_the_server(
    swift: SwiftServer, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys, region and endpoint come from the block of that name, whatever the environment says."""
    for name in swift.environment():
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody else's")
    AwsCredentials(
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        region_name=REGION,
        aws_client_parameters=AwsClientParameters(endpoint_url=swift.endpoint),
    ).save("videos")

    store = ObjectStore("videos")
    store.put_bytes(S3Location(bucket, "k"), b"x")

    assert store.get_bytes(S3Location(bucket, "k"), limit=1) == b"x"
    assert store.endpoint == swift.endpoint.removeprefix("http://")
    with pytest.raises(InputError, match="no AwsCredentials block 'pictures'"):
        ObjectStore("pictures")


def test_without_the_package_the_way_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """prefect-aws is optional; whoever names a block without it is told what to install."""
    monkeypatch.setitem(sys.modules, "prefect_aws", None)
    with pytest.raises(InputError, match=r"install longtake\[aws-blocks\]"):
        ObjectStore("videos")
