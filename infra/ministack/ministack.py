"""Starts ministack, an AWS on one machine, for as long as somebody needs it. Loopback only.

Usage: ministack.py COMMAND ...

Runs the command with the URL in HEADROOM_TEST_ENDPOINT, and ends with the command's exit code; or with 1, if
the command made no table there: tests that ask another engine prove nothing about this one.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import botocore.session
from botocore.config import Config

REGION = "us-east-1"


def free_port():
    """A port of loopback that nobody listened on a moment ago."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Ministack:
    """One server of its own port and folder. Only what this started is ended."""

    def __init__(self, **environment):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = environment

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="ministack-")
        self.log_path = os.path.join(self.folder.name, "log")
        environment = {
            **{n: v for n, v in os.environ.items() if not n.startswith(("AWS_", "LAMBDA_", "MINISTACK_"))},
            # Without these two it listens on every address.
            "BIND_HOST": "127.0.0.1",
            "IOT_MTLS_ENABLED": "0",
            "GATEWAY_PORT": str(self.port),
            "MINISTACK_HOST": "127.0.0.1",
            # Where its functions find AWS.
            "AWS_ENDPOINT_URL": self.url,
            "LOG_LEVEL": "WARNING",
            "TMPDIR": self.folder.name,
            "S3_DATA_DIR": os.path.join(self.folder.name, "s3"),
            "STATE_DIR": os.path.join(self.folder.name, "state"),
            **self.environment,
        }
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ministack"], env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            self._wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _wait(self):
        until = time.monotonic() + 60
        while self.process.poll() is None and time.monotonic() < until:
            try:
                with urllib.request.urlopen(f"{self.url}/_ministack/health", timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        raise SystemExit(f"ministack did not start:\n{self.log()[-2000:]}")

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.folder.cleanup()

    def log(self):
        """What the server wrote so far."""
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def client(self, service, key="test", secret="test"):
        """A client of one service, with these credentials."""
        return botocore.session.Session().create_client(
            service,
            region_name=REGION,
            endpoint_url=self.url,
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            # A transaction may be answered late where two processors serve everybody.
            config=Config(retries={"max_attempts": 2}, read_timeout=120),
        )


def main(command):
    # Whoever ends this ends what it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with Ministack() as aws:
        code = subprocess.run(command, env={**os.environ, "HEADROOM_TEST_ENDPOINT": aws.url}).returncode
        if code != 0:
            return code
        pages = aws.client("dynamodb").get_paginator("list_tables").paginate()
        tables = sum(len(page["TableNames"]) for page in pages)
    print(f"{tables} tables were made on ministack")
    return 0 if tables else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
