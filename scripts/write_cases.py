"""Every command that writes, with inputs to run it on: what `kill_writes.py` and `full_disk.py` try in turn."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

import ssic
from ssic.batch import RECORDS, read_records
from ssic.cli import main
from ssic.crypto import Identity, Recipient, SigningKey, VerifyKey
from ssic.imports import onnx_runtime
from ssic.model.weights import find_weights, load_weights

MODEL = "small"
LEFT_BEHIND = ".ssic-"
"""What names of temporary files begin with."""


def whole_file(path: Path) -> None:
    """Raises unless this is an intact ssic file."""
    assert not ssic.open(path).damaged()


def whole_picture(path: Path) -> None:
    """Raises unless this is a picture, to its last pixel."""
    with Image.open(path) as image:
        image.load()


def whole_json(path: Path) -> None:
    """Raises unless this is a JSON document."""
    json.loads(path.read_text())


def whole_text(path: Path) -> None:
    """Raises unless the last line of this has its end."""
    assert path.read_text().endswith("\n")


@dataclass(frozen=True)
class Case:
    """A command.

    Attributes:
        name: what it is called in reports.
        line: its arguments; "IN/..." are inputs, "OUT/..." what it writes.
        outputs: names of the files in OUT, in the order in which they are written, each with what raises unless the
            file is whole.
        again: exit codes of a second run beside a whole output of the first.
        codes: exit codes on a full disk.
        batch: outputs are recorded, and a second run keeps them.
        apart: outputs are of use one by one, and each stays once it is there.
        long: takes seconds each time; tried where it is named, or at random moments.
    """

    name: str
    line: str
    outputs: Mapping[str, Callable[[Path], None]]
    again: Sequence[int] = (0,)
    codes: Sequence[int] = (6,)
    batch: bool = False
    apart: bool = False
    long: bool = False

    def arguments(self, inputs: Path, outputs: Path) -> list[str]:
        """The command line for these folders."""
        pairs = (("IN/", f"{inputs}/"), ("OUT/", f"{outputs}/"))
        words = self.line.split()
        for short, full in pairs:
            words = [full + word.removeprefix(short) if word.startswith(short) else word for word in words]
        return words


def _case(name: str, line: str, kind: Callable[[Path], None] = whole_file, out: str = "o.ssic") -> Case:
    return Case(name, f"{line} -o OUT/{out}", {out: kind})


def _keys(name: str, line: str, *outputs: tuple[str, Callable[[Path], object]]) -> Case:
    def loads(load: Callable[[Path], object]) -> Callable[[Path], None]:
        def check(path: Path) -> None:
            load(path)

        return check

    # A key that is there is whole, and not made anew: exit code 2.
    return Case(name, line, {name: loads(load) for name, load in outputs}, again=(2,))


_PICTURES = ("a", "b")


def _batch(name: str, line: str, output: str, kind: Callable[[Path], None]) -> Case:
    outputs = {output.format(picture): kind for picture in _PICTURES}
    return Case(f"batch {name}", f"batch {name} {line}", outputs, codes=(3, 6), batch=True)


CASES = [
    _case("encode", f"encode IN/photo.png --mask IN/labels.png --model {MODEL}"),
    _case("decode", "decode IN/photo.ssic", whole_picture, "o.png"),
    _case("preview", "preview IN/photo.png --mask IN/labels.png", whole_picture, "o.png"),
    _case("extract", "extract IN/photo.ssic --groups 1"),
    _case("drop", "drop IN/photo.ssic --groups 1"),
    _case("reorder", "reorder IN/photo.ssic --order 2"),
    _case("merge", "merge IN/one.ssic IN/others.ssic"),
    _case("replace", "replace IN/photo.ssic --group 1 --with IN/other.png"),
    _case("set-quality", "set-quality IN/photo.ssic --group-quality 1=20"),
    _case("encrypt", "encrypt IN/photo.ssic --groups 1 --recipient IN/me.pub"),
    _case("decrypt", "decrypt IN/sealed.ssic --identity IN/me.key"),
    _case("rewrap", "rewrap IN/sealed.ssic --identity IN/me.key --recipient IN/me.pub --keep"),
    _case("sign", "sign IN/photo.ssic --key IN/sign.key"),
    _keys("keygen", "keygen -o OUT/o.key", ("o.key", Identity.load)),
    _keys(
        "keygen --public",
        "keygen -o OUT/o.key --public OUT/o.pub",
        ("o.key", Identity.load),
        ("o.pub", Recipient.load),
    ),
    _keys(
        "keygen --signing",
        "keygen --signing -o OUT/o.key --public OUT/o.pub",
        ("o.key", SigningKey.load),
        ("o.pub", VerifyKey.load),
    ),
    *(
        [
            Case(
                "export-weights",
                "export-weights IN/weights -o OUT/o.safetensors",
                {"o.safetensors": lambda path: void(load_weights(path))},
                long=True,
            )
        ]
        if find_spec("torch") and find_spec("onnx")
        else []
    ),
    *(
        [
            Case(
                "eval rd",
                f"eval rd --images IN/pictures --quality 50 --model {MODEL} --out OUT/rd",
                {"rd/rd.png": whole_picture, "rd/rd.json": whole_json, "rd/rd.md": whole_text},
                apart=True,
                long=True,
            )
        ]
        if all(map(find_spec, ("torch", "pytorch_msssim", "matplotlib")))
        else []
    ),
    _batch("encode", f"IN/pictures -o OUT/coded --model {MODEL}", "coded/{}.ssic", whole_file),
    _batch("decode", "IN/coded -o OUT/shown", "shown/{}.png", whole_picture),
    _batch(
        "encrypt", "IN/coded -o OUT/sealed --groups 0 --recipient IN/me.pub", "sealed/{}.ssic", whole_file
    ),
]


def void(_: object) -> None:
    """For what is called for its errors."""


def make_inputs(folder: Path) -> None:
    """All that the commands read. Models are loaded, for the children that will be forked."""
    rng = np.random.default_rng(1)
    folder.mkdir(parents=True)
    for name in ("photo", "other", *(f"pictures/{name}" for name in _PICTURES)):
        path = folder / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        # Noise: decoded, it makes a PNG of several pages of memory.
        Image.fromarray(rng.integers(0, 256, (96, 128, 3), np.uint8)).save(path)
    labels = np.zeros((96, 128), np.uint8)
    labels[16:64, :48], labels[32:, 64:] = 1, 2
    Image.fromarray(labels).save(folder / "labels.png")
    (folder / "weights").write_bytes(find_weights(MODEL).read_bytes())
    for line in (
        f"encode IN/photo.png --mask IN/labels.png -o IN/photo.ssic --model {MODEL}",
        "extract IN/photo.ssic --groups 1 -o IN/one.ssic",
        "drop IN/photo.ssic --groups 1 -o IN/others.ssic",
        "keygen -o IN/me.key --public IN/me.pub",
        "keygen --signing -o IN/sign.key",
        "encrypt IN/photo.ssic --groups 1 --recipient IN/me.pub -o IN/sealed.ssic",
        f"batch encode IN/pictures -o IN/coded --model {MODEL}",
    ):
        code, _, err = in_child(Case("", line, {}).arguments(folder, folder), folder)
        assert code == 0, err
    (folder / "coded" / RECORDS).unlink()
    onnx_runtime()
    ssic.Codec.load(MODEL)


def in_child(
    arguments: Sequence[str], scratch: Path, before: Callable[[], None] = lambda: None
) -> tuple[int, str, str]:
    """Run a command line in a forked process, which has all modules imported already.

    Args:
        scratch: folder for what it prints.
        before: called in the child first.

    Returns:
        exit code (that of a signal is negative), and what was printed on stdout and stderr.
    """
    printed = [scratch / f".printed-{name}" for name in ("out", "err")]
    child = os.fork()
    if child == 0:
        code = 1
        try:
            for number, path in enumerate(printed, 1):
                os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
            before()
            main(list(arguments))
        except SystemExit as end:
            code = int(end.code or 0)
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    out, err = (path.read_text(errors="replace") for path in printed)
    for path in printed:
        path.unlink()
    return os.waitstatus_to_exitcode(status), out, err


def limit_files(length: int, deadly: bool) -> Callable[[], None]:
    """For `in_child`: files can't grow beyond `length` bytes; trying it is an error, or kills if it is `deadly`."""

    def set_limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL if deadly else signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (length, length))

    return set_limit


def put_old(case: Case, outputs: Path, there: bool) -> dict[str, bytes | None]:
    """An empty folder for the outputs, with an older file in the place of each if they are to be `there`.

    Returns:
        what is in each place.
    """
    shutil.rmtree(outputs, ignore_errors=True)
    outputs.mkdir()
    old: dict[str, bytes | None] = {}
    for name in case.outputs:
        old[name] = f"what was in {name} before\n".encode() * 99 if there else None
        if there:
            (outputs / name).parent.mkdir(exist_ok=True)
            (outputs / name).write_bytes(old[name] or b"")
    return old


def check_outputs(case: Case, outputs: Path, old: Mapping[str, bytes | None]) -> list[str]:
    """What is wrong with the files after a run that ended early: each must be the old or a new one, whole, and
    nothing else may be there but temporary files."""
    wrong: list[str] = []
    for name, check in case.outputs.items():
        path = outputs / name
        now = path.read_bytes() if path.exists() else None
        if now == old[name]:
            continue
        if now is None:
            wrong.append(f"{name} has gone")
            continue
        try:
            check(path)
        except Exception as error:
            wrong.append(f"{name} is neither the old file nor a whole new one: {error!r}")
    for path in sorted(outputs.rglob("*")):
        known = str(path.relative_to(outputs)) in case.outputs or path.is_dir() or path.name == RECORDS
        if not known and not path.name.startswith(LEFT_BEHIND):
            wrong.append(f"{path.name} was left")
    return wrong


def check_again(case: Case, outputs: Path, old: Mapping[str, bytes | None], code: int, err: str) -> list[str]:
    """What is wrong after the second run of a command, the first of which ended early."""
    wrong: list[str] = []
    if code and code not in case.again:
        wrong.append(f"a second run ends with {code}: {err}")
    keys = case.again != (0,)
    for name, check in case.outputs.items():
        path = outputs / name
        # Of keys, the private one alone may be there: the public one is in it.
        if keys and name.endswith(".pub") and not path.exists() and (outputs / "o.key").exists():
            continue
        if not path.exists() or path.read_bytes() == old[name]:
            wrong.append(f"{name} is not there after a second run")
            continue
        try:
            check(path)
        except Exception as error:
            wrong.append(f"{name} is not whole after a second run: {error!r}")
    if case.batch:
        folder = outputs / Path(next(iter(case.outputs))).parent
        if len(read_records(folder)) != len(case.outputs):
            wrong.append("not every output is recorded after a second run")
    return wrong


def chosen(names: Sequence[str], long: bool = True) -> list[Case]:
    """The cases of these names; for none all, or all that are not `long`."""
    if unknown := set(names) - {case.name for case in CASES}:
        sys.exit(
            f"no such command: {', '.join(sorted(unknown))}; there are {', '.join(c.name for c in CASES)}"
        )
    return [case for case in CASES if case.name in names or (not names and (long or not case.long))]
