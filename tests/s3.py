"""An S3 service on the loopback interface, and the environment that leads clients to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

BUCKET = "masks"


@contextmanager
def service() -> Iterator[dict[str, str]]:
    """Start a server of moto with an empty bucket; yields environment variables."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    environment = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    try:
        boto3.client(
            "s3",
            endpoint_url=environment["AWS_ENDPOINT_URL"],
            aws_access_key_id="test",
            aws_secret_access_key="test",
            region_name="us-east-1",
        ).create_bucket(Bucket=BUCKET)
        yield environment
    finally:
        server.stop()
