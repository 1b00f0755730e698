"""Daemons that share one database."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from figures.repository import Trouble
from fleets.relay import Relay
from fleets.server import Server

DELAY = re.compile(r'^trunkline_change_delay_seconds_bucket\{le="([^"]+)"\} (\d+)$', re.MULTILINE)
# How long daemons may take to hear changes, and to close what they needed for their start.
PATIENCE = 180


class Fleet:
    """So many daemons, running while it is entered."""

    def __init__(self, program: Path, server: Server, nodes: int, relay: Relay | None = None) -> None:
        self.program, self.server, self.nodes, self.relay = program, server, nodes, relay
        self.daemons: list[subprocess.Popen[str]] = []
        self.addresses: list[str] = []

    def __enter__(self) -> Fleet:
        key = subprocess.run([self.program, "key", "generate"], check=True, capture_output=True, text=True).stdout.strip()
        known = {"PATH": os.environ["PATH"], "HOME": str(self.server.folder)}
        # A fleet of daemons on one machine needs no more than one thread each.
        known |= {"DATABASE_URL": self.server.url, "LIVEKIT_SECRET_ENCRYPTION_KEY": key, "RUST_LOG": "off",
                  "TOKIO_WORKER_THREADS": "1"}
        if self.relay is not None:
            known["RELAY_URL"] = self.relay.url
        subprocess.run([self.program, "db", "migrate"], env=known, check=True, stdout=subprocess.DEVNULL)
        add = ["livekit", "add", "--name", "eu", "--url", "wss://eu.example", "--api-key", "APIeu"]
        subprocess.run([self.program, *add], env=known, input="secret", text=True, check=True, stdout=subprocess.DEVNULL)
        try:
            for _ in range(self.nodes):
                self.start(known)
            if self.relay is None:
                self.wait("every node hears changes through NOTIFY", lambda: self.others("notify") == 0)
            else:
                three = min(self.nodes, 3)
                self.wait("all but three hear changes over the relay", lambda: self.others("relay") == three)
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.end()

    def start(self, environment: dict[str, str]) -> None:
        command = [self.program, "serve", "--listen", "127.0.0.1:0"]
        daemon = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        self.daemons.append(daemon)
        assert daemon.stdout is not None
        line = daemon.stdout.readline()
        address = re.search(r"127\.0\.0\.1:\d+", line)
        if address is None:
            raise Trouble(f"a daemon did not start: {line.strip()}", f"{self.program} serve")
        self.addresses.append(address[0])

    def end(self) -> None:
        for daemon in self.daemons:
            daemon.kill()
        for daemon in self.daemons:
            daemon.wait()

    def wait(self, what: str, holds: Callable[[], bool]) -> None:
        until = time.monotonic() + PATIENCE
        while not holds():
            if time.monotonic() > until:
                raise Trouble(f"this did not come true in {PATIENCE} s: {what}", "try fewer nodes")
            # To ask costs the nodes more than to be idle.
            time.sleep(max(0.5, self.nodes / 50))

    def others(self, way: str) -> int:
        """How many nodes learn of changes in another way."""
        return sum(hearing(address) != way for address in self.addresses)

    def delays(self) -> Counter[float]:
        """How many changes were used within so many seconds, of all nodes together."""
        found: Counter[float] = Counter()
        for address in self.addresses:
            for bound, many in DELAY.findall(fetched(address, "/metrics")):
                found[float(bound.replace("+Inf", "inf"))] += int(many)
        return found


def hearing(address: str) -> str | None:
    try:
        return str(json.loads(fetched(address, "/readyz"))["hearing"])
    except urllib.error.HTTPError:
        return None


def fetched(address: str, path: str) -> str:
    with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as answer:
        return answer.read().decode()
