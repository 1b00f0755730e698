"""A Redis of our own, for fleets with a relay."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from types import TracebackType

from figures.repository import Trouble
from fleets.server import free_port


class Relay:
    """It runs while it is entered."""

    def __init__(self) -> None:
        self.port, self.folder = free_port(), tempfile.mkdtemp(prefix="tl-relay")
        self.server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Relay:
        if shutil.which("redis-server") is None:
            raise Trouble("there is no redis-server", "scripts/test installs one")
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self.server = subprocess.Popen(["redis-server", *options], cwd=self.folder, stdout=subprocess.DEVNULL)
        for _ in range(100):
            if subprocess.run(["redis-cli", "-p", str(self.port), "ping"], capture_output=True, check=False).returncode == 0:
                return self
            time.sleep(0.1)
        raise Trouble("redis-server does not answer", "redis-server --port 0")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.server is not None:
            self.server.kill()
            self.server.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/"
