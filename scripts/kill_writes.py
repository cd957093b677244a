#!/usr/bin/env python
"""Kills every command that writes, in the middle, and looks at what lies there then. docs/code.md says how to run it.

    PYTHONPATH=src python scripts/kill_writes.py -n 40 --seed 1     # at random moments: some minutes
    PYTHONPATH=src python scripts/kill_writes.py --steps            # before each change of the disk: seconds

The destination must hold the old file or the new one, each whole; beside it only temporary files may lie; and the same
command must work again (a batch: keep what is done, and do the rest). Prints a JSON object of faults.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from write_cases import (
    LEFT_BEHIND,
    Case,
    check_again,
    check_outputs,
    chosen,
    in_child,
    limit_files,
    make_inputs,
    put_old,
)

CHANGES = {"os.rename", "os.link", "os.remove", "os.mkdir", "os.chmod", "os.rmdir", "os.symlink"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def dying_at(step: int, folder: Path) -> Callable[[], None]:
    """For `in_child`: the process kills itself before its `step`-th change of what is in `folder`, from 0."""

    def watch() -> None:
        seen = 0

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal seen
            if event not in CHANGES and not (event == "open" and int(arguments[2] or 0) & WRITING):
                return
            try:
                inside = os.fsdecode(arguments[0]).startswith(f"{folder}/")
            except TypeError:  # a descriptor
                return
            if inside:
                if seen == step:
                    os.kill(os.getpid(), signal.SIGKILL)
                seen += 1

        sys.addaudithook(hook)

    return watch


def step_by_step(case: Case, inputs: Path, outputs: Path) -> tuple[int, list[str]]:
    """Kills the command before each change that it makes in the folder of its outputs, and amid writing each file.

    Returns:
        how often it was killed, and what was wrong.
    """
    line = case.arguments(inputs, outputs)
    wrong: list[str] = []
    put_old(case, outputs, False)
    code, _, err = in_child(line, inputs)
    assert code == 0, err
    middles = sorted({(outputs / name).stat().st_size // 2 for name in case.outputs})
    ways = [(f"{length} bytes into a file", limit_files(length, deadly=True)) for length in middles]
    total = 0
    # Keys replace nothing: where there is one, no command begins. A batch replaces as the other commands do.
    for there in (False,) if case.again != (0,) or case.batch else (False, True):
        kills, step = 0, 0
        while True:
            where, how = ways[step] if step < len(ways) else (f"before change {step - len(ways)}", None)
            old = put_old(case, outputs, there)
            code, _, _ = in_child(line, inputs, how or dying_at(step - len(ways), outputs))
            if code >= 0 and how is None:  # there are no so many changes
                break
            kills += code < 0
            found = check_outputs(case, outputs, old)
            code, _, err = in_child(line, inputs)
            found += check_again(case, outputs, old, code, err)
            wrong += [f"killed {where}: {one}" for one in found]
            step += 1
        if kills < 4:
            wrong.append(f"was killed only {kills} times")
        total += kills
    return total, wrong


def at_random(
    case: Case, inputs: Path, outputs: Path, count: int, rng: random.Random
) -> tuple[int, list[str]]:
    """Kills the command at random moments, half of them while there is a temporary file.

    Returns:
        how often it was killed before its end, and what was wrong.
    """
    line = [sys.executable, "-m", "ssic", *case.arguments(inputs, outputs)]
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    put_old(case, outputs, False)
    begun = time.perf_counter()
    subprocess.run(line, check=True, **quiet)
    lasts = time.perf_counter() - begun
    kills, wrong = 0, []
    for _ in range(count):
        writing, moment = rng.random() < 0.5, rng.random()
        old = put_old(case, outputs, case.again == (0,) and rng.random() < 0.5)
        begun = time.perf_counter()
        process = subprocess.Popen(line, start_new_session=True, **quiet)
        if writing:
            while process.poll() is None and not any(outputs.rglob(f"{LEFT_BEHIND}*")):
                pass
            time.sleep(0.001 * moment)
        else:
            time.sleep(lasts * moment)
        process.kill()
        kills += process.wait() < 0
        if not gone(process.pid):
            wrong.append("workers go on after their parent was killed")
        found = check_outputs(case, outputs, old)
        again = subprocess.run(line, capture_output=True, text=True)
        found += check_again(case, outputs, old, again.returncode, again.stderr)
        how = "writing" if writing else f"after {lasts * moment:.3f} s"
        wrong += [f"killed {how}: {one}" for one in found]
    return kills, wrong


def gone(session: int, patience: float = 20) -> bool:
    """Whether all processes of a session end within so many seconds."""
    until = time.monotonic() + patience
    while time.monotonic() < until:
        try:
            os.killpg(session, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    os.killpg(session, signal.SIGKILL)
    return False


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("commands", nargs="*", help="names as in reports; default: all")
    parser.add_argument("-n", type=int, default=20, help="kills of each command")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--steps", action="store_true", help="not at random, but before each change of the disk"
    )
    parser.add_argument("--workers", type=int, default=1, help="processes of each batch")
    options = parser.parse_args()
    report: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as place:
        inputs, outputs = Path(place).resolve() / "in", Path(place).resolve() / "out"
        make_inputs(inputs)
        for case in chosen(options.commands, long=not options.steps):
            if case.batch and options.workers != 1:
                case = Case(**vars(case) | {"line": f"{case.line} --workers {options.workers}"})
            if options.steps:
                kills, wrong = step_by_step(case, inputs, outputs)
            else:
                rng = random.Random(f"{options.seed} {case.name}")
                kills, wrong = at_random(case, inputs, outputs, options.n, rng)
            report[case.name] = {"kills": kills, "wrong": wrong}
            print(f"{case.name}: {kills} kills, {len(wrong)} faults", file=sys.stderr)
    print(json.dumps(report, indent=2))
    return 1 if any(one["wrong"] for one in report.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
