"""Runs benches."""

from __future__ import annotations

import json
import subprocess
import time

from figures.findings import read_json
from figures.machine import machine
from figures.repository import FINDINGS, ROOT, Trouble, said, shown

BENCHES = ("peers", "aws", "resolve", "observe", "keyring", "token", "propagation", "under", "capacity", "fleet",
           "fleet-relay")
# Those that are no benches of this package.
COMMANDS = {
    "aws": "cargo run --release --manifest-path benches/aws/Cargo.toml --target-dir target/aws",
    "fleet": "scripts/fleet",
    "fleet-relay": "scripts/fleet --relay",
}


def run_bench(name: str) -> None:
    """Runs one bench, and notes beside its findings how they came about."""
    command = COMMANDS.get(name, f"cargo bench --all-features --bench {name}").split()
    line, begun = " ".join(command), int(time.time())
    circumstances = {"command": line, "commit": commit(), "machine": machine()}
    print(f"== {line}", flush=True)
    try:
        subprocess.run(command, cwd=ROOT, check=True)
    except OSError as error:
        raise Trouble(f"cargo does not run: {error}", "install Rust: https://rustup.rs") from error
    except subprocess.CalledProcessError as error:
        raise Trouble(f"the bench {name} failed with {error.returncode}", line) from error
    path = FINDINGS / f"{name}.json"
    findings = read_json(path, name)
    if findings.get("finished_at", 0) < begun:
        raise Trouble(f"the bench {name} left no new {shown(path)}", f"let it save its report: benches/{name}.rs")
    path.write_text(json.dumps(findings | circumstances, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def commit() -> str:
    """The commit that is measured. What `render` writes is no change to it."""
    changes = said("git", "status", "--porcelain", "--", ".", ":!docs/performance.md", ":!docs/performance")
    return said("git", "rev-parse", "--short", "HEAD") + (" with uncommitted changes" if changes else "")
