"""Runs the command blocks of the book, page by page and line by line, as they stand there.

Each page has a folder, a database and a key of its own; `scenes.py` says what else. A line that cannot run here
is listed in docs/not-run.md, with the reason. A line that is listed and not there, or neither runs nor is listed,
is an error.
"""

import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from . import scenes
from .stage import ROOT, normal, pages

BLOCK = re.compile(r"^( *)```sh\n(.*?)^\1```", re.M | re.S)
ROW = re.compile(r"^\| \[[^\]]*\]\(([^)]+)\) \| `([^`]+)` \| (.+) \|$", re.M)
LONGEST = 180


def run(program, wanted):
    listed = not_run()
    used, ran = set(), 0
    for page in pages():
        if wanted and page not in wanted:
            continue
        begun = time.monotonic()
        mine = {start for of, start in listed if of == page}
        lines = commands_of((ROOT / page).read_text())
        used |= {(page, start) for start in mine if any(line.startswith(start) for line in lines)}
        lines = [line for line in lines if not line.startswith(tuple(mine))]
        if not lines:
            continue
        play(program, page, lines)
        ran += len(lines)
        print(f"{len(lines):3} commands of {page} in {time.monotonic() - begun:.1f} s", flush=True)
    stale = [row for row in listed if row not in used and (not wanted or row[0] in wanted)]
    if stale:
        raise SystemExit("docs/not-run.md lists what is on no page:\n" + "\n".join(map(" ".join, stale)))
    print(f"{ran} commands ran; {len(used)} are listed in docs/not-run.md, with the reason")


def not_run():
    text = (ROOT / "docs/not-run.md").read_text()
    return [(normal("docs", page), start) for page, start, _ in ROW.findall(text)]


def commands_of(text):
    """The commands of a page: a line each, with what continues it and the text that is written into it."""
    commands = []
    for indent, block in BLOCK.findall(text):
        lines = iter(line.removeprefix(indent) for line in block.splitlines())
        for line in lines:
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            while line.endswith("\\"):
                line += "\n" + next(lines)
            written = re.search(r"<<'(\w+)'$", line)
            while written and not line.endswith(f"\n{written[1]}"):
                line += "\n" + next(lines)
            commands.append(line)
    return commands


def play(program, page, lines):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="book-"))
    try:
        script = "\n".join([scenes.PRELUDE, *(step(page, line, folder) for line in lines)])
        variables = stage_of(program, folder)
        (folder / "script").write_text(script)
        child = subprocess.Popen(["bash", folder / "script"], cwd=folder / "here", env=variables, text=True,
                                 stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                 start_new_session=True)
        try:
            said, _ = child.communicate(timeout=LONGEST)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            raise SystemExit(f"{page}: not done within {LONGEST} s: {child.communicate()[0][-2000:]}") from None
        if child.returncode:
            raise SystemExit(f"{page}: a command failed ({child.returncode}):\n{said[-3000:]}")
    finally:
        end_daemons(folder)
        shutil.rmtree(folder, ignore_errors=True)


def step(page, line, folder):
    """One command, after what it needs: with a secret on stdin, and its name where it fails."""
    scene = scenes.of(page)
    for there, here in scenes.PLACES.items():
        line = line.replace(there, here.format(folder=folder, port="$PORT", second="$SECOND"))
    before = [setup for start, setup in scene.items() if line.startswith(start)]
    shown = "'" + line.splitlines()[0].replace("'", "'\\''") + "'"
    return "\n".join([*before, f"NOW={shown}", f"{{ {line}\n}} < \"$SECRET\""])


def stage_of(program, folder):
    for name in ["here", "home", "bin", "etc"]:
        (folder / name).mkdir()
    for name, text in scenes.TOOLS.items():
        (folder / "bin" / name).write_text(text.format(program=program, folder=folder))
        (folder / "bin" / name).chmod(0o755)
    for name, text in scenes.FILES.items():
        (folder / "here" / name).write_text(text)
    return {
        "PATH": f"{folder}/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        "HOME": str(folder / "home"),
        "SECRET": str(folder / "here/secret.txt"),
        "FOLDER": str(folder),
        "PORT": str(free_port()),
        "SECOND": str(free_port()),
        "LC_ALL": "C.UTF-8",
        # A busy machine is no fault of the database.
        "STORE_DEADLINE": "20s",
        "RESOLVE_DEADLINE": "10s",
    }


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def end_daemons(folder):
    for file in folder.glob("daemon-*"):
        try:
            os.kill(int(file.read_text()), signal.SIGTERM)
        except (ProcessLookupError, ValueError):
            pass
