"""What is measured of a fleet, and what is asked of it."""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from fleets.daemons import Fleet
from fleets.server import Server

# How many changes a second are made.
RATE = 4
# How many connections a fleet with a relay may hold, however large it is.
MOST_WITH_RELAY = 10


@dataclass(frozen=True)
class Row:
    """A size, and what was measured."""

    HEAD: ClassVar[str] = ("nodes  Postgres, cores  a node, ms/s  commits/s  connections  "
                           "commit to use, p50 ms  p99 ms")

    nodes: int
    cores: float
    commits: float
    connections: int
    p50: float
    p99: float

    @property
    def node(self) -> float:
        """Milliseconds of Postgres a second and node."""
        return self.cores * 1000 / self.nodes

    def __str__(self) -> str:
        return (f"{self.nodes:5}  {self.cores:15.3f}  {self.node:12.2f}  {self.commits:9.0f}  {self.connections:11}  "
                f"{self.p50:21.1f}  {self.p99:6.1f}")

    def figures(self) -> Iterator[tuple[str, float]]:
        yield "Postgres, cores", self.cores
        yield "a node, ms a second", self.node
        yield "commits a second", self.commits
        yield "connections", self.connections
        yield "commit to use, p50 ms", self.p50
        yield "commit to use, p99 ms", self.p99


def measure(server: Server, fleet: Fleet, idle: int, changes: int) -> Row:
    """Of a fleet that has just started: what it costs idle, and then how soon changes are used."""
    most = 2 * fleet.nodes if fleet.relay is None else min(MOST_WITH_RELAY, 2 * fleet.nodes)
    fleet.wait("what a start takes is closed again", lambda: connections(server) <= most)
    begun, commits, used = time.monotonic(), committed(server), server.processor_seconds()
    time.sleep(idle)
    used, commits = server.processor_seconds() - used, committed(server) - commits
    seconds, open_now = time.monotonic() - begun, connections(server)
    before = fleet.delays()
    change(server, changes)
    fleet.wait("every change is used", lambda: known(fleet, before) >= changes * fleet.nodes)
    delays = fleet.delays()
    delays.subtract(before)
    return Row(fleet.nodes, used / seconds, commits / seconds, open_now,
               quantile(delays, 0.5) * 1e3, quantile(delays, 0.99) * 1e3)


def change(server: Server, changes: int) -> None:
    """Edits a config at a steady rate, each edit in a transaction of its own."""
    with subprocess.Popen(["psql", "-Xq", server.url], stdin=subprocess.PIPE, text=True) as psql:
        assert psql.stdin is not None
        for at in range(changes):
            psql.stdin.write(f"update voice_agent_livekit set trunk_id = 'ST_{at}';\n")
            psql.stdin.flush()
            time.sleep(1 / RATE)


def known(fleet: Fleet, before: Counter[float]) -> int:
    return fleet.delays()[float("inf")] - before[float("inf")]


def quantile(delays: Counter[float], part: float) -> float:
    """As Prometheus reckons it: evenly within a bucket."""
    wanted, below, seen = part * delays[float("inf")], 0.0, 0
    for bound in sorted(delays):
        if delays[bound] >= wanted and delays[bound] > seen:
            if bound == float("inf"):
                return below
            return below + (bound - below) * (wanted - seen) / (delays[bound] - seen)
        below, seen = bound, delays[bound]
    return below


def connections(server: Server) -> int:
    return int(server.ask("select count(*) from pg_stat_activity where application_name like 'trunkline%'"))


def committed(server: Server) -> int:
    return int(server.ask("select sum(xact_commit) from pg_stat_database"))


def bounds(rows: list[Row], with_relay: bool) -> Iterator[dict[str, Any]]:
    """What is asked of the sizes that were measured, as verdicts of target 11, or of 12."""
    of = {row.nodes: row for row in rows}
    if with_relay:
        for row in rows:
            yield alone(f"connections of {row.nodes} idle", row.connections, "in all", MOST_WITH_RELAY, target=12)
            yield alone(f"p99 from commit to use, {row.nodes} nodes", row.p99, "ms", 10.0, target=12)
        if {10, 300} <= of.keys():
            whole = [of[nodes].cores * 1000 for nodes in (300, 10)]
            yield ratio("all of 300 beside all of 10", ("300 nodes", whole[0]), ("10 nodes", whole[1]), 2.0, target=12)
        return
    for nodes in sorted(of.keys() & {10, 80, 300}):
        yield alone(f"Postgres, {nodes} idle nodes", of[nodes].node, "ms a second and node", 1.0)
    if {10, 300} <= of.keys():
        yield ratio("a node of 300 beside one of 10", ("300 nodes", of[300].node), ("10 nodes", of[10].node), 1.0)
    for row in rows:
        yield alone(f"connections of {row.nodes} idle", row.connections / row.nodes, "a node", 2.0)
    for nodes, most in ((1, 5.0), (80, 10.0)):
        if nodes in of:
            yield alone(f"p99 from commit to use, {nodes} nodes", of[nodes].p99, "ms", most)


def alone(what: str, value: float, unit: str, most: float, target: int = 11) -> dict[str, Any]:
    return {"target": target, "what": what, "unit": unit, "ratio": None, "ours": {"name": "", "value": value},
            "rival": None, "relation": "at_most", "bound": most, "met": value <= most}


def ratio(
    what: str, ours: tuple[str, float], rival: tuple[str, float], most: float, target: int = 11,
) -> dict[str, Any]:
    part = ours[1] / rival[1]
    return {"target": target, "what": what, "unit": "ms a second", "ratio": part,
            "ours": dict(zip(("name", "value"), ours, strict=True)),
            "rival": dict(zip(("name", "value"), rival, strict=True)),
            "relation": "at_most", "bound": most, "met": part <= most}
