"""What both halves of a side-by-side benchmark need: the peer's environment, requests by JSON lines, the machine."""

import json
import os
import platform
import statistics
import subprocess
import sys
import venv
from collections.abc import Callable, Sequence
from pathlib import Path

DEVINTERP = ("devinterp==1.3.2", "torch==2.13.0")


def peer_python(folder: Path, packages: Sequence[str]) -> str:
    """The interpreter of an environment with the peer, made where it is absent."""
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
    return str(python)


def ask(peer: subprocess.Popen, **request: object) -> dict:
    """The peer's answer to one request."""
    peer.stdin.write(json.dumps(request) + "\n")
    peer.stdin.flush()
    return json.loads(peer.stdout.readline())


def serve(hello: dict, answer: Callable[..., dict]) -> None:
    """The peer's side of `ask`: a greeting, then an answer to each line of standard input."""
    print(json.dumps(hello), flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(**json.loads(line))), flush=True)


def summary(values: Sequence[float], form: str = ".2f") -> str:
    """Median (least–most)."""
    return f"{statistics.median(values):{form}} ({min(values):{form}}–{max(values):{form}})"


def cpu_model() -> str:
    """The processor's name."""
    info = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return names[0] if info.exists() and names else platform.processor()
