"""The design that Trunkline replaces, to be measured beside it: two queries and a decryption a call.

Reads from stdin what to do, and writes to stdout how long a call took, in microseconds:

    {"dsn": "host=/tmp/socket dbname=calls", "key": "…", "seconds": 3,
     "callers": [["0d6f1f2e-52a8-4a35-9b1f-6f7f0c9f2a11", "971500000001"]]}
    {"calls": 4321, "p50_us": 680.1, "p99_us": 1359.0, "mean_us": 692.4}

Run: `python benches/original.py < job.json`; needs `pip install psycopg2-binary cryptography`. A schema
goes into the dsn: `options=-csearch_path=telephony`. With `"autocommit": true` the two queries have no
transaction around them, which psycopg2 opens and the pool ends, each with a round trip of its own.

It is no slower than the original has to be: the number is looked up by the expression that has an
index, one connection serves both queries, and nothing is logged. What is not found is an error here,
and not an answer from the environment, which would be measured as if it were one.
"""

from __future__ import annotations

import json
import math
import sys
import time
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any, TextIO

try:
    import psycopg2
    from cryptography.fernet import Fernet, InvalidToken
    from psycopg2.extras import RealDictCursor
    from psycopg2.pool import ThreadedConnectionPool
except ImportError as missing:
    sys.exit(f"error: {missing}\nhint: pip install psycopg2-binary cryptography")

PREFIX = "dev-s-t-"
CONNECTIONS = 10
WARM_UP = 50

NUMBER = """
    select rules from voice_agent_numbers
    where ltrim(country_code, '+0 ') || cast(base_number as text) = %s and tenant_id = %s::uuid
    order by id limit 1"""

CONFIG = """
    select livekit_url, livekit_api_key, livekit_api_secret, trunk_id, worker_name
    from voice_agent_livekit where id = %s::uuid"""


class Trouble(Exception):
    """Why nothing can be measured."""


@dataclass
class LiveKitCredentials:
    """What a call is placed with."""

    url: str
    api_key: str
    api_secret: str
    trunk_id: str | None
    worker_name: str | None
    source: str


@dataclass(frozen=True)
class Job:
    """What is asked for on stdin."""

    dsn: str
    key: str
    seconds: float
    callers: list[tuple[str, str]]
    autocommit: bool


def main() -> int:
    try:
        json.dump(measured(read_job(sys.stdin)), sys.stdout)
    except (Trouble, psycopg2.Error) as error:
        print(f"error: {str(error).strip()}", file=sys.stderr)
        return 1
    print()
    return 0


def read_job(source: TextIO) -> Job:
    try:
        raw = json.load(source)
        callers = [(str(tenant), str(digits).removeprefix("+")) for tenant, digits in raw["callers"]]
        job = Job(raw["dsn"], raw["key"], float(raw["seconds"]), callers, raw.get("autocommit", False))
        Fernet(job.key)
    except KeyError as error:
        raise Trouble(f"the job on stdin lacks {error}") from error
    except (TypeError, ValueError) as error:
        raise Trouble(f"the job on stdin is malformed: {error}") from error
    if not job.callers:
        raise Trouble("the job on stdin has no callers")
    return job


def measured(job: Job) -> dict[str, float]:
    """Asks for one caller after the other until the time is up."""
    pool = ThreadedConnectionPool(1, CONNECTIONS, job.dsn)
    try:
        callers = cycle(job.callers)
        for caller in islice(callers, WARM_UP):
            resolve(pool, job, *caller)
        return summary(timed(pool, job, callers))
    finally:
        pool.closeall()


def timed(pool: ThreadedConnectionPool, job: Job, callers: cycle[tuple[str, str]]) -> list[int]:
    """The nanoseconds of each call."""
    taken: list[int] = []
    end = time.perf_counter_ns() + int(job.seconds * 1e9)
    for caller in callers:
        begun = time.perf_counter_ns()
        resolve(pool, job, *caller)
        done = time.perf_counter_ns()
        taken.append(done - begun)
        if done >= end:
            break
    return taken


def summary(taken: list[int]) -> dict[str, float]:
    taken = sorted(taken)
    return {
        "calls": len(taken),
        "p50_us": quantile(taken, 0.5),
        "p99_us": quantile(taken, 0.99),
        "mean_us": round(sum(taken) / len(taken) / 1000, 3),
    }


def quantile(ascending: list[int], share: float) -> float:
    """In microseconds."""
    return ascending[math.ceil(share * len(ascending)) - 1] / 1000


def resolve(pool: ThreadedConnectionPool, job: Job, tenant: str, digits: str) -> LiveKitCredentials:
    """One call of the original, from a number to credentials."""
    connection = pool.getconn()
    try:
        if connection.autocommit != job.autocommit:
            connection.autocommit = job.autocommit
        number = row(connection, NUMBER, (digits, tenant))
        if number is None:
            raise Trouble(f"tenant {tenant} has no number {digits}")
        rules = number["rules"]
        config_id = rules.get("livekit_config")
        config = row(connection, CONFIG, (config_id,)) if config_id else None
    finally:
        pool.putconn(connection)
    if config is None:
        raise Trouble(f"the number {digits} of tenant {tenant} has no config")
    return LiveKitCredentials(
        url=config["livekit_url"],
        api_key=config["livekit_api_key"],
        api_secret=decrypt(config["livekit_api_secret"], job.key),
        trunk_id=config["trunk_id"] or rules.get("outbound_trunk_id"),
        worker_name=config["worker_name"],
        source="database",
    )


def row(connection: psycopg2.extensions.connection, statement: str, values: tuple[str, ...]) -> dict[str, Any] | None:
    with connection.cursor(cursor_factory=RealDictCursor) as cursor:
        cursor.execute(statement, values)
        return cursor.fetchone()


def decrypt(sealed: str, key: str) -> str:
    if not sealed.startswith(PREFIX):
        raise Trouble(f"a secret does not begin with {PREFIX}")
    try:
        return Fernet(key).decrypt(sealed.removeprefix(PREFIX).encode()).decode()
    except InvalidToken as error:
        raise Trouble("the key does not open the secret of a config") from error


if __name__ == "__main__":
    sys.exit(main())
