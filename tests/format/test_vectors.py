"""vectors/: what must come of each file does come of it, with both engines."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import ssic
from helpers import ROOT
from helpers.commands import SOURCE
from helpers.reference_decoder import decode_substream, load_tensors
from helpers.reference_range_decoder import reference_decode_mask
from ssic import errors
from ssic.blocks import ABSENT
from ssic.model.weights import find_by_id

VECTORS = ROOT / "vectors"
SHEETS = sorted(VECTORS.glob("*/*.json"))
VALID = [path for path in SHEETS if path.parent.name == "valid"]
INVALID = [path for path in SHEETS if path.parent.name == "invalid"]
ENGINES = ("onnx", *(("torch:cpu:float32",) if find_spec("torch") else ()))
"""bfloat16 rounds more than the tolerance of one level, and is held to laws of its own."""
KEYS = {"identities", "passphrases"}


def name_of(path: Path) -> str:
    return path.stem


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def keys_of(sheet: dict[str, Any], folder: Path) -> list[Any]:
    identities = [ssic.Identity.load(folder / key) for key in sheet.get("identities", [])]
    files = [folder / key for key in sheet.get("passphrases", [])]
    return [*identities, *(ssic.Passphrase.read(path.read_bytes(), str(path)) for path in files)]


def open_vector(sheet: dict[str, Any], folder: Path) -> ssic.SsicFile:
    options: dict[str, Any] = {name: sheet[name] for name in ("min_version",) if name in sheet}
    if keys := keys_of(sheet, folder):
        options["identity"] = keys
    if "trust" in sheet:
        options["trust"] = [ssic.VerifyKey.load(folder / key) for key in sheet["trust"]]
    if "limits" in sheet:
        options["limits"] = ssic.DecodeLimits(**sheet["limits"])
    return ssic.open((folder / sheet["file"]).read_bytes(), **options)


def latent_hashes(opened: ssic.SsicFile) -> dict[str, str]:
    """By id of each group that decodes, SHA-256 of its latents as little-endian int32 [blocks, M]."""
    segments, _ = opened.access.substreams(g.id for g in opened.groups)
    quality = {g.id: g.quality for g in opened.groups}
    plan, latents, damaged = opened.codec(engine="onnx").decode_latents(
        opened.access.shown.mask, quality, segments
    )
    return {
        str(i): hashlib.sha256(latents[plan.group == i].astype("<i4").tobytes()).hexdigest()
        for i in segments
        if i not in damaged
    }


# -- the folder --------------------------------------------------------------------------------------------


KINDS = {
    "object": {dict},
    "array": {list},
    "string": {str},
    "integer": {int},
    "number": {int, float},
    "boolean": {bool},
    "null": {type(None)},
}
UNDERSTOOD = {
    *("$schema", "title", "description", "type", "enum", "const", "pattern", "minimum", "maximum"),
    *("properties", "required", "additionalProperties", "items", "if", "then", "else"),
}


def faults(value: Any, schema: dict[str, Any], at: str = "sheet") -> list[str]:
    """What is wrong with a value by a JSON schema that needs no more words than `UNDERSTOOD`."""
    assert set(schema) <= UNDERSTOOD, f"the test does not know {set(schema) - UNDERSTOOD}"
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(type(value) in KINDS[kind] for kind in kinds):
        return [f"{at} is not of type {kinds}"]
    right = [
        value in schema.get("enum", [value]),
        value == schema.get("const", value),
        not isinstance(value, str) or re.search(schema.get("pattern", ""), value) is not None,
        type(value) not in KINDS["number"]
        or schema.get("minimum", value) <= value <= schema.get("maximum", value),
    ]
    found = [] if all(right) else [f"{at} is {value!r}"]
    if isinstance(value, dict):
        found += [f"{at} has no {name}" for name in schema.get("required", []) if name not in value]
        for name, content in value.items():
            rule = schema.get("properties", {}).get(name, schema.get("additionalProperties", {}))
            found += [f"{at} has {name}"] if rule is False else faults(content, rule, f"{at}.{name}")
    if isinstance(value, list):
        found += [
            f for i, one in enumerate(value) for f in faults(one, schema.get("items", {}), f"{at}[{i}]")
        ]
    if "if" in schema:
        found += faults(value, schema.get("else" if faults(value, schema["if"], at) else "then", {}), at)
    return found


def test_sheets_follow_their_schema():
    schema = json.loads((VECTORS / "sheet.schema.json").read_text())
    assert len(VALID) >= 50
    assert len(INVALID) >= 150
    for path in SHEETS:
        sheet = read(path)
        assert faults(sheet, schema) == [], path
        assert sheet["expect"] == {"valid": "decoded", "invalid": "error"}[path.parent.name]
        # The schema is a sieve: without any of what it asks for, or with anything else, a sheet is refused.
        for name in schema["required"]:
            assert faults({k: v for k, v in sheet.items() if k != name}, schema), (path, name)
        assert faults(sheet | {"surprise": 1}, schema)


def test_every_file_has_a_sheet_and_is_small():
    files = {path for path in VECTORS.glob("*/*") if path.is_file()}
    keys = {path for path in files if path.parent.name == "keys"}
    assert {path for path in files - keys if path.suffix == ".ssic"} == {
        p.with_suffix(".ssic") for p in SHEETS
    }
    shown = {path.parent / read(path)["pixels"]["file"] for path in VALID}  # some show the same picture
    assert {path for path in files if path.suffix == ".png"} == shown
    used = set()
    for path in SHEETS:
        sheet = read(path)
        assert sheet["file"] == f"{path.stem}.ssic"
        used |= {
            (path.parent / k).resolve()
            for n in ("identities", "passphrases", "trust")
            for k in sheet.get(n, [])
        }
    assert used <= {path.resolve() for path in keys}
    assert sum(path.stat().st_size for path in VECTORS.rglob("*") if path.is_file()) <= 1_000_000


def test_every_error_of_a_file_has_a_vector():
    """All kinds of errors that bytes alone can cause."""
    found = {read(path)["error"] for path in INVALID}
    kinds = {
        c.__name__ for c in vars(errors).values() if isinstance(c, type) and issubclass(c, errors.FormatError)
    }
    assert found == kinds | {"UnknownModel", "InvalidInput"}


def test_the_script_makes_these_bytes():
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/make_vectors.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([SOURCE, str(ROOT / "tests")])},
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


# -- valid -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", VALID, ids=name_of)
def test_heads_and_latents(path):
    sheet = read(path)
    opened = open_vector(sheet, path.parent)
    head = opened.info()
    del head["transfer"]
    assert head == sheet["head"]
    assert hashlib.sha256(opened.access.shown.mask.tobytes()).hexdigest() == sheet["mask"]
    chunks = {
        tag: hashlib.sha256(body).hexdigest() for tag, body in opened.head.chunks.items() if tag != "SIGN"
    }
    assert chunks == sheet["chunks"]
    assert latent_hashes(opened) == sheet["latents"]
    left_out = [*sheet.get("damaged", []), *sheet.get("sealed", []), *sheet.get("missing", [])]
    assert sorted(left_out) == sorted(
        g["name"] for g in head["groups"] if str(g["id"]) not in sheet["latents"]
    )


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("path", VALID, ids=name_of)
def test_pixels(path, engine):
    sheet = read(path)
    opened = open_vector(sheet, path.parent)
    partial = sheet.get("partial", False)
    decoded = opened.decode_pixels(partial=partial, engine=engine)
    assert list(decoded.damaged) == sheet.get("damaged", [])
    assert list(decoded.sealed) == sheet.get("sealed", [])
    assert list(decoded.missing) == sheet.get("missing", [])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        pixels = opened.decode(fill="black", partial=partial, engine=engine)
    expected = np.asarray(Image.open(path.parent / sheet["pixels"]["file"]).convert("RGB")).astype(int)
    assert pixels.shape == expected.shape == (opened.height, opened.width, 3)
    assert np.abs(pixels - expected).max() <= sheet["pixels"]["tolerance"]
    assert (expected[~decoded.present] == 0).all()


@pytest.mark.parametrize("path", [p for p in VALID if "decrypted" in read(p)], ids=name_of)
def test_decrypting_gives_the_file_that_was_sealed(path):
    sheet = read(path)
    opened = open_vector(sheet, path.parent)
    assert (
        bytes(ssic.decrypt(opened, keys_of(sheet, path.parent)))
        == (path.parent / sheet["decrypted"]).read_bytes()
    )


@pytest.mark.parametrize("path", [p for p in VALID if "signer" in read(p)], ids=name_of)
def test_signatures_are_those_of_the_signer(path):
    sheet = read(path)
    signer = ssic.VerifyKey.load(path.parent / sheet["signer"])
    assert ssic.verify((path.parent / sheet["file"]).read_bytes()) == signer


def test_extracting_gives_the_file_with_absent_blocks():
    whole = ssic.open(VECTORS / "valid/three-groups.ssic")
    assert bytes(whole.extract([1, 2])) == (VECTORS / "valid/absent-blocks.ssic").read_bytes()


# -- the same by readers that share no code with the package ------------------------------------------------


@pytest.mark.parametrize("path", [p for p in VALID if not KEYS & set(read(p))], ids=name_of)
def test_masks_by_the_reference_decoder(path):
    sheet = read(path)
    head = ssic.format.read_head((path.parent / sheet["file"]).read_bytes())
    ids = [ABSENT] * bool((head.mask == 255).any()) + [g.id for g in head.groups]
    assert head.coded_mask is not None
    step, coded = head.coded_mask
    labels = reference_decode_mask(coded, head.mask.shape, len(ids), step)
    assert hashlib.sha256(np.array(ids, np.uint8)[labels].tobytes()).hexdigest() == sheet["mask"]


@pytest.mark.parametrize("name", ["one-pixel", "noise", "empty-substreams", "quality-1-and-100"])
def test_latents_by_the_reference_decoder(name):
    sheet = read(VECTORS / f"valid/{name}.json")
    data = (VECTORS / f"valid/{name}.ssic").read_bytes()
    head = ssic.format.read_head(data)
    tensors = load_tensors(find_by_id(head.model_id))
    for group in head.groups:
        segment = ssic.format.read_segment(data, head, group.id)
        blocks = decode_substream(*tensors, head.mask.tolist(), group.id, group.quality, segment)
        values = np.array([blocks[block] for block in sorted(blocks)], "<i4")
        assert hashlib.sha256(values.tobytes()).hexdigest() == sheet["latents"][str(group.id)]


# -- invalid -----------------------------------------------------------------------------------------------


def outcome(sheet: dict[str, Any], folder: Path, engine: str) -> str:
    """Where the first error comes, and which: "decode: WrongKey"; "none"."""
    at = "open"
    try:
        opened = open_vector(sheet, folder)
        at = sheet["at"]
        if at == "decode":
            opened.decode_pixels(engine=engine)
        elif at == "verify":
            ssic.verify(opened)
        elif at == "decrypt":
            ssic.decrypt(opened, keys_of(sheet, folder))
    except errors.SsicError as error:
        return f"{at}: {type(error).__name__}"
    return "none"


@pytest.mark.parametrize(
    ("path", "engine"),
    [
        (path, engine)
        for path in INVALID
        for engine in (ENGINES if read(path)["at"] == "decode" else ENGINES[:1])
    ],
    ids=lambda value: value.stem if isinstance(value, Path) else value,
)
def test_errors(path, engine):
    sheet = read(path)
    assert outcome(sheet, path.parent, engine) == f"{sheet['at']}: {sheet['error']}"
