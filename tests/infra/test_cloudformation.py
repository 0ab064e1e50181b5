"""The AWS template: linted, really created, and an upload to its bucket arrives as a run."""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cfnlint.decode import decode

from flows.arrivals.listener import Listener
from flows.arrivals.video_runs import VideoFilter, VideoRuns
from flows.server.deployment import Deployment
from samcore.errors import StorageError
from tasks.store.locations import S3Location
from tasks.store.object_store import ObjectStore
from tasks.store.queue import MessageQueue
from tests.servers.aws import AwsServer
from tests.servers.deployed import Deployed
from tests.servers.sigterm_when import Ending

ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "infra" / "aws" / "longtake.yaml"


def lint(path: Path) -> subprocess.CompletedProcess[str]:
    """Check a template by AWS's own schemas; hints count."""
    return subprocess.run(
        [Path(sys.executable).parent / "cfn-lint", "--include-checks", "I", "--", path],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )


def test_the_template_is_clean() -> None:
    """cfn-lint finds nothing to say, not even a hint."""
    done = lint(TEMPLATE)

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_linter_would_find_something(tmp_path: Path) -> None:
    """The same check refuses a property that does not exist."""
    path = tmp_path / "bad.yaml"
    path.write_text(TEMPLATE.read_text().replace("VisibilityTimeout:", "InvisibilityTimeout:"))

    assert lint(path).returncode != 0


def test_buckets_keep_what_matters_and_nothing_else() -> None:
    """Versioned, encrypted, closed to the public, and free of uploads that never ended."""
    template, _ = decode(str(TEMPLATE))

    for name in ("Videos", "Results"):
        bucket = template["Resources"][name]["Properties"]
        assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
        assert bucket["BucketEncryption"]
        assert all(bucket["PublicAccessBlockConfiguration"].values())
        rules = bucket["LifecycleConfiguration"]["Rules"]
        assert any("AbortIncompleteMultipartUpload" in rule for rule in rules)
        assert not any("ExpirationInDays" in rule for rule in rules)


class Stack:
    """The template as created, with the parts that moto's CloudFormation leaves out."""

    def __init__(self, server: AwsServer) -> None:
        self._server = server
        formation = server.client("cloudformation")
        formation.create_stack(
            StackName="longtake",
            TemplateBody=TEMPLATE.read_text(),
            Capabilities=["CAPABILITY_IAM"],
            Parameters=[
                {"ParameterKey": "VideosBucketName", "ParameterValue": "videos"},
                {"ParameterKey": "ResultsBucketName", "ParameterValue": "results"},
            ],
        )
        (stack,) = formation.describe_stacks(StackName="longtake")["Stacks"]
        assert stack["StackStatus"] == "CREATE_COMPLETE"
        self.outputs = {item["OutputKey"]: item["OutputValue"] for item in stack["Outputs"]}
        self._configure_bucket()

    def _configure_bucket(self) -> None:
        """Give the bucket its notifications and versions, as the template has them."""
        template, _ = decode(str(TEMPLATE))
        bucket = template["Resources"]["Videos"]["Properties"]
        sqs, s3 = self._server.client("sqs"), self._server.client("s3")
        (asked,) = bucket["NotificationConfiguration"]["QueueConfigurations"]
        assert asked["Queue"] == {"Fn::GetAtt": ["Events", "Arn"]}
        queue = sqs.get_queue_attributes(
            QueueUrl=self.outputs["QueueUrl"], AttributeNames=["QueueArn"]
        )["Attributes"]["QueueArn"]
        s3.put_bucket_versioning(
            Bucket="videos", VersioningConfiguration=dict(bucket["VersioningConfiguration"])
        )
        s3.put_bucket_notification_configuration(
            Bucket="videos",
            NotificationConfiguration={
                "QueueConfigurations": [{"QueueArn": queue, "Events": [asked["Event"]]}]
            },
        )

    def user(self, policy: str) -> dict[str, str]:
        """The AWS settings of a user who has one of the policies, and no other right."""
        iam = self._server.client("iam")
        iam.create_user(UserName=policy)
        iam.attach_user_policy(UserName=policy, PolicyArn=self.outputs[policy])
        # AWS has no permissions for batches: whoever may delete one message may delete ten. Moto
        # knows them by the calls' names.
        batches = ["sqs:DeleteMessageBatch", "sqs:ChangeMessageVisibilityBatch"]
        iam.put_user_policy(
            UserName=policy,
            PolicyName="batches",
            PolicyDocument=json.dumps(
                {
                    "Version": "2012-10-17",
                    "Statement": [{"Effect": "Allow", "Action": batches, "Resource": "*"}],
                }
            ),
        )
        key = iam.create_access_key(UserName=policy)["AccessKey"]
        return {
            "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
        }


def check_permissions(server: AwsServer, after: float) -> None:
    """Have moto check signatures and permissions once `after` more calls were made."""
    request = urllib.request.Request(
        f"{server.endpoint}/moto-api/reset-auth",
        data=str(after).encode(),
        headers={"Content-Type": "application/octet-stream"},
        method="POST",
    )
    with urllib.request.urlopen(request, timeout=30):
        pass


@pytest.fixture
def stack(aws: AwsServer) -> Iterator[Stack]:
    """The stack; permissions are not checked yet, and no more afterwards."""
    try:
        yield Stack(aws)
    finally:
        check_permissions(aws, float("inf"))


def become(user: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in user.items():
        monkeypatch.setenv(name, value)


def test_an_upload_becomes_a_run(
    prefect_api: str, aws: AwsServer, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A video that is dropped into the stack's bucket arrives as a flow run, and one without
    prompts as a skip record; the listener has the rights of its policy and no others."""
    user = stack.user("ListenerPolicyArn")
    s3, sqs = aws.client("s3"), aws.client("sqs")
    s3.put_object(Bucket="videos", Key="my tapes/dog.mp4.prompts.json", Body=b"{}")
    s3.put_object(Bucket="videos", Key="my tapes/dog.mp4", Body=b"a video")
    s3.put_object(Bucket="videos", Key="cat.mp4", Body=b"a video")
    queue = sqs.get_queue_url(QueueName="longtake-events")["QueueUrl"]
    deployed = Deployed()
    become(user, monkeypatch)
    check_permissions(aws, 0)
    results = S3Location("results", "")

    with Deployment(deployed.name) as deployment:
        runs = VideoRuns(ObjectStore(), deployment, results)
        # The skip record is written last, when all was told that there is to tell.
        with Ending(lambda: deployed.count() == 1 and _is_skipped("cat.mp4")):
            Listener(MessageQueue(queue), runs, VideoFilter(results), wait_s=1).run()

    (request,) = deployed.requests()
    assert request["source"] == "s3://videos/my tapes/dog.mp4"
    assert request["prompts"] == "s3://videos/my tapes/dog.mp4.prompts.json"
    assert request["destination"] == "s3://results/my tapes/dog.mp4"


def _is_skipped(video: str) -> bool:
    return ObjectStore().head(S3Location("results", f"{video}/skipped.json")) is not None


def test_the_listener_may_do_no_more(
    aws: AwsServer, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It cannot read masks, write to the videos, or publish anything but its skip records."""
    aws.client("s3").put_object(Bucket="results", Key="a.mp4/masks.parquet", Body=b"masks")
    become(stack.user("ListenerPolicyArn"), monkeypatch)
    check_permissions(aws, 0)
    store = ObjectStore()

    refused: list[Any] = [
        lambda: store.get_bytes(S3Location("results", "a.mp4/masks.parquet"), limit=100),
        lambda: store.put_bytes(S3Location("videos", "a.mp4"), b"x"),
        lambda: store.put_bytes(S3Location("results", "a.mp4/manifest.json"), b"x"),
        lambda: store.delete(S3Location("videos", "a.mp4")),
    ]
    for call in refused:
        with pytest.raises(StorageError, match="do not allow it"):
            call()


def test_workers_may_do_what_runs_need(
    aws: AwsServer, stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading videos and writing results works with the rights of the workers' policy; videos they
    cannot touch."""
    video = S3Location("videos", "a.mp4")
    aws.client("s3").put_object(Bucket="videos", Key="a.mp4", Body=b"a video")
    become(stack.user("WorkerPolicyArn"), monkeypatch)
    check_permissions(aws, 0)
    store = ObjectStore()
    results = S3Location("results", "a.mp4/")

    assert [info.location for info in store.list(S3Location("videos", ""))] == [video]
    store.get_file(video, tmp_path / "a.mp4")
    store.put_bytes(results.join("manifest.json"), b"{}", only_if_absent=True)
    assert store.abort_stale_uploads(results, older_than_s=60) == 0
    store.delete(results.join("manifest.json"))
    assert list(store.list(results)) == []

    with pytest.raises(StorageError, match="do not allow it"):
        store.put_bytes(video, b"x")
    with pytest.raises(StorageError, match="do not allow it"):
        store.delete(video)
