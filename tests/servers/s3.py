"""An S3-compatible server (moto), and a registry that keeps its storage there."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from servers import DistributionServer, Process, find_program, free_port

KEYS = {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "tests", "AWS_REGION": "us-east-1"}


class S3Server(Process):
    """moto's server: buckets in memory."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, free_port())
        folder.mkdir(parents=True, exist_ok=True)

    def command(self) -> list[str]:
        return [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]

    @property
    def settings(self) -> Mapping[str, str]:
        """The environment with which a client finds it."""
        return {**KEYS, "AWS_ENDPOINT_URL": f"http://{self.host}"}

    def request(self, method: str, path: str, body: bytes = b"") -> int:
        connection = http.client.HTTPConnection(self.host, timeout=30)
        connection.request(method, path, body)
        status = connection.getresponse().status
        connection.close()
        return status


class S3Registry(DistributionServer):
    """Debian's docker-registry on a new bucket of an S3 server."""

    def __init__(self, folder: Path, s3: S3Server, bucket: str) -> None:
        super().__init__(folder)
        self.place = f"s3://{bucket}"
        assert s3.request("PUT", f"/{bucket}") == 200
        text = self.configuration.read_text()
        where = f"regionendpoint: 'http://{s3.host}', bucket: {bucket}, rootdirectory: /"
        keys = (
            "accesskey: tests, secretkey: tests, region: us-east-1, secure: false, v4auth: true, forcepathstyle: true"
        )
        filesystem = f"filesystem: {{rootdirectory: {self.storage}}}"
        self.configuration.write_text(text.replace(filesystem, f"s3: {{{where}, {keys}}}"))

    def environment(self) -> Mapping[str, str]:
        found = {**os.environ, "OTEL_TRACES_EXPORTER": "none"}
        found.pop("AWS_CA_BUNDLE", None)
        return found

    def garbage_collect(self, *options: str) -> str:
        program = find_program(*self.program)
        return subprocess.run(
            [program, "garbage-collect", *options, str(self.configuration)],
            check=True,
            capture_output=True,
            text=True,
            env=dict(self.environment()),
        ).stdout


class S3Registry3(S3Registry):
    """distribution 3 there."""

    program = ("registry-3",)


class S3Registry311(S3Registry):
    """distribution 3.1.1, whose lists omit names that begin with the one before: distribution#4891 and #4903."""

    program = ("registry-3.1.1",)
