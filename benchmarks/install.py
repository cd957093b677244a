"""What `pip install ssic` brings, and how long the first command takes.

In a fresh virtual environment, made from this checkout: bytes that pip downloads, bytes that lie there afterwards
(modules compiled as pip leaves them; the environment's own pip and setuptools not counted), and, each in a process of
its own, `import ssic`, `ssic info` and `ssic decode`. The file is that of the demo: the portrait with seven groups,
512x600. Seconds are medians of --runs processes, wall time and CPU time of all threads; files lie in the system's
cache, as after any first run.

--extra ONE[,OTHER] installs extras too, --constraint passes pip's option of that name on.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

import ssic
from _pictures import photograph

ROOT = Path(__file__).parent.parent
OWN = ("pip", "setuptools", "wheel", "_distutils_hack", "distutils-precedence")


def size(folder: Path) -> int:
    """Bytes of the files in a folder."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())


def timed(command: list[str], runs: int, cwd: Path) -> tuple[float, float]:
    """Median wall and CPU seconds of a command; the first run, which fills caches, is thrown away."""
    walls, cpus = [], []
    for _ in range(runs + 1):
        before = os.times()
        start = time.perf_counter()
        subprocess.run(command, check=True, cwd=cwd, stdout=subprocess.DEVNULL)
        walls.append(time.perf_counter() - start)
        after = os.times()
        used = after.children_user + after.children_system - before.children_user - before.children_system
        cpus.append(used)
    return statistics.median(walls[1:]), statistics.median(cpus[1:])


def demo_file(folder: Path) -> None:
    """The demo's file, made by the ssic that this script runs with."""
    examples = ROOT / "examples"
    with Image.open(photograph()) as photo:
        mask = ssic.GroupMask.from_label_map(
            examples / "grace_hopper_labels.png", photo.size, examples / "grace_hopper_names.json"
        )
        data = ssic.encode(photo, mask, quality=50, group_quality={"face": 80})
    (folder / "photo.ssic").write_bytes(data)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--extra", default="")
    parser.add_argument("--constraint")
    parser.add_argument("--runs", type=int, default=9)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        demo_file(place)
        subprocess.run([sys.executable, "-m", "venv", place / "venv"], check=True)
        python, pip = place / "venv/bin/python", place / "venv/bin/pip"
        constraint = ["-c", options.constraint] if options.constraint else []
        wanted = f"{ROOT}[{options.extra}]" if options.extra else str(ROOT)
        quiet = ["-q", "--disable-pip-version-check"]
        wheels = place / "wheels"
        subprocess.run([pip, "wheel", *quiet, *constraint, "-w", wheels, wanted], check=True)
        downloaded = {path.name: path.stat().st_size for path in wheels.iterdir()}
        subprocess.run([pip, "install", *quiet, "--no-index", *wheels.iterdir()], check=True)
        site = next((place / "venv/lib").glob("python*/site-packages"))
        installed = sum(
            size(path) if path.is_dir() else path.stat().st_size
            for path in site.iterdir()
            if not path.name.startswith(OWN)
        )
        torch = (site / "torch").exists()
        program = str(place / "venv/bin/ssic")
        commands = {
            "python -c pass": [str(python), "-c", "pass"],
            "import ssic": [str(python), "-c", "import ssic"],
            "ssic --help": [program, "--help"],
            "ssic info photo.ssic": [program, "info", "photo.ssic"],
            "ssic decode photo.ssic": [program, "decode", "photo.ssic", "-o", "out.png"],
        }
        print("# Installation and first commands\n")
        print(f"machine   {os.cpu_count()} CPUs, {platform.machine()}, Python {platform.python_version()}\n")
        print("| | |\n|---|---:|")
        print(f"| wheels, ssic's own included | {sum(downloaded.values()) / 1e6:.1f} MB |")
        for wheel, count in sorted(downloaded.items(), key=lambda item: -item[1])[:6]:
            print(f"| ... {wheel.split('-')[0]} | {count / 1e6:.1f} MB |")
        print(f"| installed | {installed / 1e6:.1f} MB |")
        print(f"| torch among them | {'yes' if torch else 'no'} |\n")
        print("| command | seconds | CPU seconds |\n|---|---:|---:|")
        for title, command in commands.items():
            wall, cpu = timed(command, options.runs, place)
            print(f"| `{title}` | {wall:.3f} | {cpu:.3f} |", flush=True)


if __name__ == "__main__":
    main()
