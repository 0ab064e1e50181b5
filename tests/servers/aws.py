"""The AWS services that no real server for tests is there for: moto, in a process of its own."""

import subprocess
import sys
import urllib.request
from types import TracebackType
from typing import Any, cast

import boto3

REGION = "us-east-1"
# Debian's name server answers for localhost; a port of 0 lets the kernel choose a free one.
_MAIN = """
import sys, threading
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

server = make_server(
    "127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=True
)
print(server.server_port, flush=True)
threading.Thread(target=lambda: (sys.stdin.read(), server.shutdown()), daemon=True).start()
server.serve_forever()
"""


class AwsServer:
    """Started by `with`; ends with it, or with the process that started it.

    Has SQS, SNS, EventBridge, CloudFormation, and an S3 whose buckets notify; checks no signature
    and no permission.
    """

    endpoint: str
    """`http://127.0.0.1:PORT`, once it runs."""

    def __enter__(self) -> "AwsServer":
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-W", "ignore", "-c", _MAIN],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        self.endpoint = f"http://127.0.0.1:{self._process.stdout.readline().strip()}"
        return self

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

    def environment(self) -> dict[str, str]:
        """The standard AWS settings that lead here."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "tester",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": REGION,
            # Nothing of the person who runs the tests.
            "AWS_CONFIG_FILE": "/nonexistent",
            "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self, service: str) -> Any:
        """A plain boto3 client."""
        return cast(
            Any,
            boto3.client(  # type: ignore[call-overload]
                service,
                endpoint_url=self.endpoint,
                aws_access_key_id="tester",
                aws_secret_access_key="testing",
                region_name=REGION,
            ),
        )

    def reset(self) -> None:
        """Forget everything."""
        request = urllib.request.Request(f"{self.endpoint}/moto-api/reset", method="POST")
        with urllib.request.urlopen(request, timeout=30):
            pass
