"""Every command that writes is killed at each change of the disk, and meets a full one."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import ssic
from helpers import ROOT
from helpers.commands import Run
from ssic.batch import RECORDS, Record, appending, read_records
from ssic.crypto import Identity, Recipient
from ssic.storage import atomic

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks, and sets limits of files")

COMMANDS = [
    *("encode", "decode", "preview", "extract", "drop", "reorder", "merge", "replace", "set-quality"),
    *("encrypt", "decrypt", "rewrap", "sign", "keygen", "keygen --public", "keygen --signing"),
    *("batch encode", "batch decode", "batch encrypt"),
]
WITH_EXTRAS = {"export-weights", "eval rd"}
SOME = ["encode", "keygen --public", "batch decode"]  # the scripts try all, for minutes


def script(name: str, *arguments: str) -> Any:
    """The report of a script, by command. (A process of its own: this one has threads, and can't be forked safely.)"""
    environment = os.environ | {"PYTHONPATH": str(Path(ssic.__file__).parents[1])}
    line = [sys.executable, ROOT / "scripts" / name, *arguments]
    done = subprocess.run(line, env=environment, capture_output=True, text=True)
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def test_a_command_that_is_killed_leaves_the_old_file_or_the_new_one() -> None:
    """Before each change of the disk, and amid writing each file."""
    report = script("kill_writes.py", "--steps", *SOME)
    assert [*report] == SOME
    for name, found in report.items():
        assert found["wrong"] == [], name
        assert found["kills"] >= 4, name


def test_a_full_disk_is_told_and_leaves_nothing() -> None:
    report = script("full_disk.py", *SOME)
    assert [*report] == SOME
    for name, found in report.items():
        assert found["wrong"] == [], name
        assert found["failures"] >= 1, name


def test_the_scripts_know_every_command_that_writes() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "kill_writes.py", "nonsense"],
        env=os.environ | {"PYTHONPATH": str(Path(ssic.__file__).parents[1])},
        capture_output=True,
        text=True,
    )
    known = done.stderr.strip().split("there are ")[1].split(", ")
    assert [name for name in known if name not in WITH_EXTRAS] == COMMANDS


def test_of_a_pair_of_keys_none_is_left_where_the_second_can_not_be_written(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = os.replace
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def no_room(source: Path, target: Path) -> None:
        if Path(target).suffix == ".pub":
            raise full
        replace(source, target)

    line = ("keygen", "-o", tmp_path / "a.key", "--public", tmp_path / "a.pub")
    with monkeypatch.context() as disk:
        disk.setattr(os, "replace", no_room)
        code, _, err = run(*line)
    assert (code, err) == (6, f"ssic: error: {tmp_path / 'a.pub'}: {os.strerror(errno.ENOSPC)}\n")
    assert list(tmp_path.iterdir()) == []
    assert run(*line)[0] == 0
    assert Identity.load(tmp_path / "a.key").recipient == Recipient.load(tmp_path / "a.pub")


def test_an_empty_file_in_the_place_of_a_key_is_called_so(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.key").touch()
    code, _, err = run("keygen", "-o", tmp_path / "a.key")
    assert (code, "is empty: delete it" in err) == (2, True)


def test_without_links_a_key_is_never_half_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is killed between two calls leaves an empty file, and never a part of a key."""
    seen: list[bytes] = []
    replace = os.replace

    def looking(source: Path, target: Path) -> None:
        seen.append(Path(target).read_bytes())
        replace(source, target)
        seen.append(Path(target).read_bytes())

    def no_links(*_: object) -> None:
        raise PermissionError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", no_links)
    monkeypatch.setattr(os, "replace", looking)
    atomic.create_private(tmp_path / "a.key", b"secret")
    assert seen == [b"", b"secret"]

    def broken(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(OSError, match=r"b\.key"):
        atomic.create_private(tmp_path / "b.key", b"secret")
    assert [path.name for path in tmp_path.iterdir()] == ["a.key"]


def test_records_on_a_full_disk_name_their_file_and_go_on_later(tmp_path: Path) -> None:
    code = """
import resource, signal, sys
from pathlib import Path
from ssic.batch import Record, appending
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600))
with appending(Path(sys.argv[1])) as append:
    for name in "abc":
        append(Record(f"/{name}.png", f"{name}.ssic", "encoded", "r"))
"""
    environment = os.environ | {"PYTHONPATH": str(Path(ssic.__file__).parents[1])}
    line = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(line, env=environment, capture_output=True, text=True)
    assert done.stderr.strip().endswith(f"File too large: '{tmp_path / RECORDS}'"), done.stderr
    before = read_records(tmp_path)
    assert 1 <= len(before) < 3
    assert (tmp_path / RECORDS).stat().st_size == 600  # a line is cut short there
    with appending(tmp_path) as append:
        append(Record("/d.png", "d.ssic", "encoded", "r"))
    assert [*read_records(tmp_path)] == [*before, "d.ssic"]


def test_workers_end_with_a_command_that_is_killed_and_the_next_goes_on(run: Run, tmp_path: Path) -> None:
    folder, out = tmp_path / "pictures", tmp_path / "out"
    folder.mkdir()
    rng = np.random.default_rng(1)
    for name in "abcdef":
        Image.fromarray(rng.integers(0, 256, (160, 160, 3), np.uint8)).save(folder / f"{name}.png")
    arguments = ["batch", "encode", folder, "-o", out, "--model", "small", "--workers", "2"]
    environment = os.environ | {"PYTHONPATH": str(Path(ssic.__file__).parents[1])}
    line = [sys.executable, "-m", "ssic", *map(str, arguments)]
    process = subprocess.Popen(line, env=environment, stderr=subprocess.DEVNULL, start_new_session=True)
    while process.poll() is None and not any(out.glob("[a-f].ssic")):
        time.sleep(0.01)
    process.kill()
    process.wait()
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            break
        time.sleep(0.05)
    else:
        pytest.fail("workers wait for ever")
    for path in out.glob("[a-f].ssic"):
        assert not ssic.open(path).damaged()
    code, printed, _ = run(*arguments[:-1], "1", "--json")
    done = json.loads(printed)
    assert (code, done["encoded"] + done["kept"], done["failed"]) == (0, 6, 0)
