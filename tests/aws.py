"""Amazon Web Services for tests: boto3 with its network, or with a stand-in for AWS (moto)."""

from __future__ import annotations

import importlib.util
import logging
import os
from typing import Any
from unittest.mock import patch

import requests
from django.test import SimpleTestCase

from .utils import skip_without

HAS_BOTO3 = importlib.util.find_spec("boto3") is not None
REGION = "eu-central-1"


def aws_environment() -> Any:
    """Return a patch of the environment: no configuration of the user's, no proxies."""
    return patch.dict(
        os.environ,
        {
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ACCESS_KEY_ID": "test-key-id",
            "AWS_SECRET_ACCESS_KEY": "test-secret-key",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_MAX_ATTEMPTS": "1",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        },
    )


@skip_without("boto3")
class AwsTestCase(SimpleTestCase):
    """Has boto3 find credentials and a region, but no AWS."""

    def setUp(self) -> None:
        super().setUp()
        environment = aws_environment()
        environment.start()
        self.addCleanup(environment.stop)


@skip_without("boto3", "moto", "flask")
class MotoTestCase(AwsTestCase):
    """Has moto's server in place of AWS: everything before it is real.

    https://docs.getmoto.org/en/latest/docs/server_mode.html
    """

    @classmethod
    def setUpClass(cls) -> None:
        from moto.server import ThreadedMotoServer

        super().setUpClass()
        werkzeug_logger = logging.getLogger("werkzeug")
        level = werkzeug_logger.level
        werkzeug_logger.setLevel(logging.ERROR)  # logs each request otherwise
        cls.addClassCleanup(werkzeug_logger.setLevel, level)
        server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        server.start()
        cls.addClassCleanup(server.stop)
        host, port = server.get_host_and_port()
        cls.aws_url = f"http://{host}:{port}"

    def setUp(self) -> None:
        super().setUp()
        # Like a project that uses one of AWS's alternative endpoints.
        endpoint = patch.dict(os.environ, {"AWS_ENDPOINT_URL": self.aws_url})
        endpoint.start()
        self.addCleanup(endpoint.stop)
        self.addCleanup(self.call_moto, "POST", "reset")

    def call_moto(self, method: str, path: str) -> Any:
        """Call moto's own API, which tells what has happened in AWS."""
        with requests.Session() as session:
            session.trust_env = False
            response = session.request(method, f"{self.aws_url}/moto-api/{path}", timeout=10)
        response.raise_for_status()
        return response.json()

    def aws_client(self, service: str, region: str = REGION) -> Any:
        """Return a boto3 client."""
        import boto3

        client = boto3.session.Session().client(service, region_name=region)
        self.addCleanup(client.close)
        return client
