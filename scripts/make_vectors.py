"""Write the files in vectors/, with a sheet each that says what must come of them; see the README there.

PYTHONPATH=tests python scripts/make_vectors.py [--check]

`--check` writes nothing: it compares, and ends with 1 if something differs. Bytes come out the same on every machine:
latents are those of a golden file, so that nothing but integers is coded; keys and nonces are fixed. (Pixels come from
floats: PNGs are compared within the tolerance.) Files are put together byte by byte, after docs/format.md and
docs/encryption.md, and not by the writers of the package: the readers of the package have to agree.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from invalid_vectors import INVALID
from numpy.typing import NDArray
from PIL import Image
from valid_vectors import VALID
from vector_writer import MODEL, PEOPLE, PHRASES, SIGNERS

VECTORS = Path(__file__).resolve().parent.parent / "vectors"


def key_files() -> dict[str, bytes]:
    """The files in vectors/keys."""
    note = "# For tests only: everybody has this key.\n"
    files = {f"{n}.key": f"{note}{p.secret()}\n" for n, p in {**PEOPLE, **SIGNERS}.items()}
    files |= {f"{n}.pub": f"{note}{p.recipient}\n" for n, p in PEOPLE.items()}
    files |= {f"{n}.pub": f"{note}{k.verify_key}\n" for n, k in SIGNERS.items()}
    files |= {f"{n}.txt": f"{phrase}\n" for n, phrase in PHRASES.items()}
    return {name: content.encode() for name, content in files.items()}


def png(pixels: NDArray[np.uint8]) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", optimize=True)
    return out.getvalue()


def written(sheet: Mapping[str, Any]) -> bytes:
    """A sheet as JSON, one line for each thing and each group."""

    def line(value: Any) -> str:
        return json.dumps(value, ensure_ascii=False)

    rows = []
    for name, value in sheet.items():
        if name == "head":
            head = {k: v for k, v in value.items() if k != "groups"}
            groups = ",\n  ".join(line(group) for group in value["groups"])
            rows.append(f'"head": {line(head)[:-1]}, "groups": [\n  {groups}]}}')
        elif name == "latents" and value:
            hashes = ",\n  ".join(f"{line(k)}: {line(v)}" for k, v in value.items())
            rows.append(f'"latents": {{\n  {hashes}}}')
        else:
            rows.append(f"{line(name)}: {line(value)}")
    return ("{\n " + ",\n ".join(rows) + "\n}\n").encode()


def all_files() -> dict[str, bytes]:
    """Everything that the script writes, by path within vectors/. Vectors that show the same picture share a PNG."""
    out = {f"keys/{name}": data for name, data in key_files().items()}
    pictures: dict[tuple[Any, bytes], str] = {}
    for folder, makers in (("valid", VALID), ("invalid", INVALID)):
        for make in makers:
            for vector, picture in make():
                stem = f"{folder}/{vector.name}"
                assert f"{stem}.json" not in out, f"{stem} is made twice"
                sheet = {
                    "about": vector.about,
                    "file": f"{vector.name}.ssic",
                    "model": MODEL.hex(),
                } | vector.sheet
                if picture is not None:
                    name = pictures.setdefault((picture.shape, picture.tobytes()), f"{vector.name}.png")
                    sheet["pixels"] = {"file": name, "tolerance": 1}
                    if f"{folder}/{name}" not in out:
                        out[f"{folder}/{name}"] = png(picture)
                out[f"{stem}.ssic"] = vector.data
                out[f"{stem}.json"] = written(sheet)
    return out


def same(path: Path, data: bytes) -> bool:
    """Whether a file is as the script would write it; PNGs may differ by one level."""
    if not path.is_file():
        return False
    if path.suffix != ".png":
        return path.read_bytes() == data
    here, there = (np.asarray(Image.open(io.BytesIO(d)).convert("RGB")).astype(int)
                   for d in (path.read_bytes(), data))  # fmt: skip
    return here.shape == there.shape and bool((np.abs(here - there) <= 1).all())


def main(args: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--check", action="store_true", help="compare with what is there, and write nothing")
    check = parser.parse_args(args).check
    wanted = all_files()
    there = {p.relative_to(VECTORS).as_posix() for p in VECTORS.glob("*/*") if p.is_file()}
    changed = sorted(name for name, data in wanted.items() if not same(VECTORS / name, data))
    needless = sorted(there - set(wanted))
    for name in changed:
        print(f"{'differs' if check else 'written'}: {name}")
        if not check:
            (VECTORS / name).parent.mkdir(parents=True, exist_ok=True)
            (VECTORS / name).write_bytes(wanted[name])
    for name in needless:
        print(f"{'not made by this script' if check else 'removed'}: {name}")
        if not check:
            (VECTORS / name).unlink()
    return int(check and bool(changed or needless))


if __name__ == "__main__":
    sys.exit(main())
