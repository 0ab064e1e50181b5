"""A real S3 server for tests: OpenStack Swift in a process of its own, with its own folder."""

import shutil
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, cast

import boto3
from botocore.config import Config

ACCESS_KEY = "test:tester"
SECRET_KEY = "testing-7f3aQx91"
REGION = "us-east-1"
_MAIN = Path(__file__).with_name("swift_main.py")


class SwiftServer:
    """Started by `with`; ends with it, or with the process that started it.

    What it checks is what a real store checks: signatures, Content-MD5, CRC32 and SHA-256 of what
    comes in, If-None-Match. It does not know If-Match on a put, nor lifecycles.
    """

    endpoint: str
    """`http://127.0.0.1:PORT`, once it runs."""

    def __enter__(self) -> "SwiftServer":
        self._folder = Path(tempfile.mkdtemp(prefix="swift-"))
        with (self._folder / "log").open("wb") as log:
            self._process = self._start(log)
        assert self._process.stdout is not None
        port = self._process.stdout.readline().strip()
        if not port:
            said = (self._folder / "log").read_text()[-2000:]
            self.__exit__(None, None, None)
            raise RuntimeError(f"Swift did not start: {said}")
        self.endpoint = f"http://127.0.0.1:{port}"
        return self

    def _start(self, log: BinaryIO) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            # Isolated, or this folder's swift.py would hide the package of that name.
            [sys.executable, "-I", "-W", "ignore", str(_MAIN), str(self._folder / "store")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def environment(self, endpoint: str | None = None) -> dict[str, str]:
        """The standard AWS settings that lead here, or through a proxy at `endpoint`."""
        return {
            "AWS_ENDPOINT_URL": endpoint or self.endpoint,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_DEFAULT_REGION": REGION,
            # Nothing of the person who runs the tests.
            "AWS_CONFIG_FILE": "/nonexistent",
            "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self) -> Any:
        """A plain boto3 client straight to the server, to look at what is really there."""
        return cast(
            Any,
            boto3.client(
                "s3",
                endpoint_url=self.endpoint,
                aws_access_key_id=ACCESS_KEY,
                aws_secret_access_key=SECRET_KEY,
                region_name=REGION,
                config=Config(s3={"addressing_style": "path"}),
            ),
        )

    def make_bucket(self, name: str = "bucket", *, versioned: bool = False) -> str:
        """A new empty bucket; its name begins with `name`."""
        bucket = f"{name}-{uuid.uuid4().hex[:10]}"
        client = self.client()
        client.create_bucket(Bucket=bucket)
        if versioned:
            client.put_bucket_versioning(
                Bucket=bucket, VersioningConfiguration={"Status": "Enabled"}
            )
        return bucket
