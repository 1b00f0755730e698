"""A Postgres of our own, and what the kernel says of its processes."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType

from figures.repository import Trouble


class Server:
    """It runs while it is entered."""

    def __init__(self, connections: int) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="tl-fleet"))
        self.port, self.connections, self.bin = free_port(), connections, bin_folder()
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")

    def __enter__(self) -> Server:
        data, log = self.folder / "data", self.folder / "log"
        # A change is written before its commit has reached the disk, and how long that takes is not asked here.
        settings = (f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 -c fsync=off "
                    f"-c max_connections={self.connections}")
        try:
            self.run("initdb", "-D", str(data), "-U", "owner", "-A", "trust", "-E", "UTF8", "--no-sync")
            self.run("pg_ctl", "-D", str(data), "-w", "-l", str(log), "-o", settings, "start")
        except Trouble:
            self.remove()
            raise
        self.pid = int((data / "postmaster.pid").read_text(encoding="utf-8").splitlines()[0])
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.run("pg_ctl", "-D", str(self.folder / "data"), "-m", "immediate", "stop")
        self.remove()

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def url(self) -> str:
        return f"postgres://owner@127.0.0.1:{self.port}/postgres?sslmode=disable"

    def run(self, program: str, *arguments: str) -> None:
        """As the user that servers run as; they refuse to run as root."""
        other = ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups"]
        command = [*(other if os.geteuid() == 0 else []), str(self.bin / program), *arguments]
        done = subprocess.run(command, cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if done.returncode != 0:
            raise Trouble(f"{program} failed: {done.stderr.strip()}", "scripts/test installs what it takes")

    def ask(self, sql: str) -> str:
        command = ["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", sql, self.url]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def processor_seconds(self) -> float:
        """What all its processes have used so far: those that live, exactly, and those that have ended."""
        main, nanoseconds = (Path("/proc") / str(self.pid)), 0
        for process in [main, *children(self.pid)]:
            try:
                nanoseconds += int((process / "schedstat").read_text(encoding="ascii").split()[0])
            except OSError:
                # It has just ended, and is among the next.
                continue
        fields = (main / "stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
        ended = int(fields[13]) + int(fields[14])
        return nanoseconds / 1e9 + ended / os.sysconf("SC_CLK_TCK")


def children(parent: int) -> list[Path]:
    """The processes that a process has started. Those of Postgres start none."""
    task = Path(f"/proc/{parent}/task/{parent}/children")
    return [Path("/proc") / pid for pid in task.read_text(encoding="ascii").split()]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def bin_folder() -> Path:
    folders = sorted(path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not folders:
        raise Trouble("no Postgres server in /usr/lib/postgresql", "scripts/test installs one")
    return folders[-1]
