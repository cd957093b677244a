#!/usr/bin/env python
"""Runs every command that writes on a full disk, and looks at what it says and leaves. docs/code.md says how to run it.

    PYTHONPATH=src python scripts/full_disk.py            # files can't grow beyond some lengths (RLIMIT_FSIZE)
    PYTHONPATH=src python scripts/full_disk.py --tmpfs    # a file system in memory, full: as root

Each must end with its exit code for files that can't be written, name the file and the system's reason, leave what was
there before and nothing else, and work once there is room. Prints a JSON object of what is wrong, by command.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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

from ssic.batch import RECORDS

PAGE = 4096


def fails_well(
    case: Case, outputs: Path, old: dict[str, bytes | None], result: tuple[int, str, str], reason: int
) -> list[str]:
    """What is wrong with how a command ended for want of room, and with what it left."""
    code, out, err = result
    wrong = check_outputs(case, outputs, old)
    if code not in case.codes:
        wrong.append(f"ends with {code}, not {case.codes}")
    said = out + err
    if "Traceback" in said or os.strerror(reason) not in said:
        wrong.append(f"does not say why: {said}")
    names = [str(outputs / name) for name in case.outputs]
    if case.batch:
        names.append(str(outputs / Path(next(iter(case.outputs))).parent / RECORDS))
    if not any(name in said for name in names):
        wrong.append(f"does not name the file: {said}")
    for name, before in old.items():
        path = outputs / name
        if not (case.batch or case.apart) and (path.read_bytes() if path.exists() else None) != before:
            wrong.append(f"{name} is not what was there before")
    wrong += [f"{path.name} was left" for path in outputs.rglob(f"{LEFT_BEHIND}*")]
    return wrong


def with_limit(case: Case, inputs: Path, outputs: Path) -> tuple[int, list[str]]:
    """Runs the command where files can't grow beyond some lengths, up to one byte less than the longest output has.

    Returns:
        how often it failed, and what was wrong.
    """
    line = case.arguments(inputs, outputs)
    put_old(case, outputs, False)
    code, _, err = in_child(line, inputs)
    assert code == 0, err
    longest = max((outputs / name).stat().st_size for name in case.outputs)
    # What a command prints goes to a file, too; 400 bytes are enough for an error.
    lengths = sorted({max(400, longest // 2), max(400, longest - 1)}) if longest > 400 else [longest - 1]
    tries = [(length, there) for length in lengths for there in (False, True)]
    wrong: list[str] = []
    tried = 0
    for length, there in tries:
        if there and case.again != (0,):
            continue
        old = put_old(case, outputs, there)
        result = in_child(line, inputs, limit_files(length, deadly=False))
        found = fails_well(case, outputs, old, result, errno.EFBIG)
        code, _, err = in_child(line, inputs)
        found += check_again(case, outputs, old, code, err)
        if code:
            found.append(f"can't be repeated: {err}")
        wrong += [f"at {length} bytes: {one}" for one in found]
        tried += 1
    return tried, wrong


def filled(disk: Path, room: int) -> Callable[[], None]:
    """Leave so many bytes of the disk, in whole pages; -> what gives the rest back."""
    ballast = disk / "ballast"
    system = os.statvfs(disk)
    ballast.write_bytes(bytes(system.f_bavail * system.f_frsize - room // PAGE * PAGE))
    return ballast.unlink


def on_full_disk(case: Case, inputs: Path, disk: Path) -> tuple[int, list[str]]:
    """Runs the command where there is no room, and ever a page more, until it has enough.

    Returns:
        how often it failed, and what was wrong.
    """
    outputs = disk / "out"
    line = case.arguments(inputs, outputs)
    wrong: list[str] = []
    tried = 0
    for there in (False,) if case.again != (0,) else (False, True):
        for pages in range(200):
            old = put_old(case, outputs, there)
            empty = filled(disk, pages * PAGE)
            result = in_child(line, inputs)
            enough = result[0] == 0
            found = [] if enough else fails_well(case, outputs, old, result, errno.ENOSPC)
            empty()
            code, _, err = in_child(line, inputs)
            if not enough:
                tried += 1
                found += check_again(case, outputs, old, code, err)
                if code:
                    found.append(f"can't be repeated: {err}")
            wrong += [f"with {pages} pages: {one}" for one in found]
            if enough:
                break
        if not pages:
            wrong.append("never lacked room")
    return tried, wrong


@contextmanager
def small_disk(place: Path) -> Iterator[Path]:
    """A file system in memory, of two megabytes."""
    disk = place / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], check=True)
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("commands", nargs="*", help="names as in reports; default: all")
    parser.add_argument(
        "--tmpfs", action="store_true", help="mount a small file system, rather than set a limit"
    )
    options = parser.parse_args()
    report: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        place = Path(name).resolve()
        inputs = place / "in"
        make_inputs(inputs)
        for case in chosen(options.commands, long=not options.tmpfs and bool(options.commands)):
            if options.tmpfs:
                with small_disk(place) as disk:
                    tried, wrong = on_full_disk(case, inputs, disk)
                (place / "disk").rmdir()
            else:
                tried, wrong = with_limit(case, inputs, place / "out")
            report[case.name] = {"failures": tried, "wrong": wrong}
            print(f"{case.name}: {tried} failures, {len(wrong)} faults", file=sys.stderr)
    print(json.dumps(report, indent=2))
    return 1 if any(one["wrong"] for one in report.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
