"""Options that reach the parts below: pictures that are refused by default, masks of all kinds, sizes, protocols, and
what shall not tell of hidden groups."""

from __future__ import annotations

import json
import warnings
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import ssic
from helpers.commands import Run, damaged
from helpers.pictures import natural_picture
from ssic.cli.pictures import PictureOptions
from ssic.codec import check_limits
from ssic.errors import ImageError, LimitExceeded
from ssic.format import Segment, allowing, default_limits, read_head, read_segment, write_file
from ssic.groups.mask import GroupMask
from ssic.pictures.read import Picture, load_picture

SIZE = (64, 48)


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """Pictures that are refused by default: transparent, 16 bits deep, of two pages; and a plain one."""
    pixels = natural_picture(3, SIZE[1], SIZE[0])
    Image.fromarray(pixels).save(tmp_path / "plain.png")
    alpha = np.full((SIZE[1], SIZE[0], 1), 255, np.uint8)
    alpha[:20] = 0
    Image.fromarray(np.dstack([pixels, alpha])).save(tmp_path / "clear.png")
    Image.fromarray(pixels[:, :, 0].astype(np.uint16) * 257).save(tmp_path / "deep.png")
    pages = [Image.fromarray(pixels), Image.fromarray(255 - pixels)]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    return tmp_path


CASES: list[tuple[str, list[object], dict[str, Any]]] = [
    ("clear.png", ["--background", "red"], {"background": "red"}),
    ("deep.png", ["--to-8-bit", "dither"], {"to_8_bit": "dither"}),
    ("pages.tif", ["--frame", 1], {"frame": 1}),
]


@pytest.mark.parametrize(("name", "options", "meant"), CASES)
def test_pictures_are_read_as_asked(
    run: Run, odd: Path, name: str, options: list[object], meant: dict[str, Any]
) -> None:
    expected = ssic.encode(load_picture(odd / name, **meant))
    out = odd / "out.ssic"
    code, _, err = run("encode", odd / name, "-o", out)
    assert (code, str(options[0]) in err, out.exists()) == (2, True, False)
    assert run("encode", odd / name, "-o", out, *options).code == 0
    assert out.read_bytes() == expected
    assert run("preview", odd / name, "-o", odd / "seen.png").code == 2
    assert run("preview", odd / name, "-o", odd / "seen.png", *options).code == 0
    assert run("encode", odd / "plain.png", "-o", odd / "plain.ssic", "--quality", 30).code == 0
    other = ["replace", odd / "plain.ssic", "--group", "image", "--with", odd / name, "-o", odd / "new.ssic"]
    assert run(*other).code == 2
    assert run(*other, *options, "--quality", 60).code == 0
    assert (odd / "new.ssic").read_bytes() == expected
    again = ["set-quality", odd / "plain.ssic", "--group-quality", "image=60", "-o", odd / "new.ssic"]
    assert run(*again, "--with", odd / name, *options).code == 0
    assert (odd / "new.ssic").read_bytes() == expected
    code, _, err = run(*again, *options)
    assert (code, "of use with --with only" in err) == (2, True)

    (odd / "in").mkdir()
    (odd / name).rename(odd / "in" / name)
    batch: list[object] = ["batch", "encode", odd / "in", "-o", odd / "coded", "--workers", 1]
    assert run(*batch).code == 3
    assert run(*batch, *options).code == 0
    assert (odd / "coded" / name).with_suffix(".ssic").read_bytes() == expected
    assert json.loads(run(*batch, *options, "--json").out)["kept"] == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--background", "wite"], '--background: "wite" is no colour'),
        (["--to-8-bit", "floor"], "--to-8-bit floor: round or dither was expected"),
        (["--frame", -1], "--frame"),
        (["--max-pixels", 0], "--max-pixels"),
        (["--memory", "2 pounds"], "--memory '2 pounds': a size was expected, such as 500M or 2G"),
        (["--memory", "0"], "--memory '0'"),
        (["--ignore-label", 255], "--ignore-label is of use with --mask"),
        (["--renumber"], "with --encrypt only"),
        (
            ["--encrypt", "image", "--recipient", "k", "--renumber"],
            "with --hide-names or --hide-outline only",
        ),
    ],
)
def test_values_that_can_not_be(run: Run, odd: Path, options: list[object], said: str) -> None:
    for line in (
        ["encode", odd / "plain.png", "-o", odd / "o.ssic"],
        ["batch", "encode", odd, "-o", odd / "o"],
    ):
        code, _, err = run(*line, *options)
        assert (code, said in err) == (2, True), err
    assert not (odd / "o").exists()
    assert PictureOptions(frame=0).given


# -- sizes -------------------------------------------------------------------------------------------------------


def test_memory_is_what_the_command_line_allows(run: Run, odd: Path) -> None:
    before = default_limits()
    plain, file = odd / "plain.png", odd / "p.ssic"
    code, _, err = run("encode", plain, "-o", file, "--memory", "100k")
    assert (code, "the limit is 100 kB" in err) == (2, True)
    assert run("encode", plain, "-o", file, "--memory", "0.5m").code == 0
    code, _, err = run("decode", file, "-o", odd / "m.png", "--memory", "100KB")
    assert (code, "the limit is 100 kB" in err) == (4, True)
    assert run("decode", file, "-o", odd / "m.png", "--memory", "1MB").code == 0
    line = ["batch", "encode", plain, "-o", odd / "memory", "--workers", 1, "--json", "--memory"]
    assert "the limit is 100 kB" in json.loads(run(*line, "100k").out)["failures"][0]["error"]
    assert run(*line, "1G").code == 0
    # A size that is allowed brings its memory with it, unless the memory is named, too.
    assert run("decode", file, "-o", odd / "m.png", "--max-pixels", 3072, "--memory", "100k").code == 4
    assert default_limits() is before


def test_sizes_are_what_the_command_line_allows(run: Run, odd: Path) -> None:
    before = default_limits()
    plain, file = odd / "plain.png", odd / "p.ssic"
    code, _, err = run("encode", plain, "-o", file, "--max-pixels", 3071)
    assert (code, "--max-pixels" in err) == (2, True)
    assert run("encode", plain, "-o", file, "--max-pixels", 3072).code == 0
    for line in (["info"], ["decode", "-o", odd / "p.png"], ["extract", "--groups", 0, "-o", odd / "e.ssic"]):
        code, _, err = run(line[0], file, *line[1:], "--max-pixels", 3071)
        assert (code, "--max-pixels" in err) == (4, True)
        assert run(line[0], file, *line[1:], "--max-pixels", 3072).code == 0
    found = run("batch", "decode", file, "-o", odd / "out", "--max-pixels", 3071, "--json", "--workers", 1)
    assert (found.code, "3071" in json.loads(found.out)["failures"][0]["error"]) == (3, True)
    assert default_limits() is before

    # Where the process takes less by default, the option takes more: the picture, the file, and the memory for it.
    ssic.set_default_limits(replace(before, max_pixels=1000, max_memory=1000, warn_pixels=1000))
    try:
        code, _, err = run("encode", plain, "-o", file)
        assert (code, "at most 1,000 are taken here" in err) == (2, True)
        assert run("encode", plain, "-o", file, "--max-pixels", 3072).code == 0
        with pytest.raises(LimitExceeded):
            ssic.open(file)
        code, _, err = run("decode", file, "-o", odd / "q.png", "--max-pixels", 3072)
        assert (code, err) == (0, "")
        line = ["batch", "encode", plain, "-o", odd / "coded", "--workers", 1]
        assert run(*line).code == 3
        assert run(*line, "--max-pixels", 3072).code == 0
    finally:
        ssic.set_default_limits(before)


def test_pictures_of_phones_with_200_megapixels(run: Run, tmp_path: Path) -> None:
    """Read and written where that is asked for, without the memory that all their pixels would take here."""
    size = 20_000, 10_000
    pixels = np.broadcast_to(np.uint8(0), (size[1], size[0], 3))
    mask = np.zeros((size[1] // 16, size[0] // 16), np.uint8)
    mask[3, 5] = 1
    small = ssic.encode(natural_picture(5, 16, 16), quality=60)
    head = read_head(small)
    segment = read_segment(small, head, 0)
    parts = [Segment(0, "sky", 60, b"not decoded"), Segment(1, "dog", 60, segment)]
    file = tmp_path / "large.ssic"
    file.write_bytes(
        write_file(width=size[0], height=size[1], model_id=head.model_id, mask=mask, segments=parts)
    )
    with pytest.raises(ImageError, match="--max-pixels"):
        ssic.encode(Picture(pixels), GroupMask(mask, {0: "sky", 1: "dog"}))
    with allowing(200_000_000):
        check_limits(Picture(pixels))
    options = ["--groups", "dog", "--crop", "-o", tmp_path / "dog.png"]
    for line in (["info"], ["decode", *options]):
        code, _, err = run(line[0], file, *line[1:])
        assert (code, "--max-pixels" in err) == (4, True)
        code, _, err = run(line[0], file, *line[1:], "--max-pixels", 200_000_000)
        assert (code, err) == (0, "")
    with Image.open(tmp_path / "dog.png") as image:
        assert image.size == (16, 16)


# -- masks of all kinds ----------------------------------------------------------------------------------------


def boxes_as_labelme(label: str) -> str:
    shape = {"label": label, "points": [[0, 0], [32, 32]], "shape_type": "rectangle"}
    return json.dumps({"shapes": [shape], "imageWidth": SIZE[0], "imageHeight": SIZE[1]})


def masks(folder: Path) -> dict[str, Any]:
    """Masks of a dog in the upper left corner, and what else `from_any` is told of each."""
    labels = np.zeros((SIZE[1], SIZE[0]), np.uint8)
    labels[:32, :32] = 1
    colours = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    colours[:32, :32, 0] = 255
    np.save(folder / "array.npy", labels)
    Image.fromarray(labels).save(folder / "map.tif")
    Image.fromarray(colours).save(folder / "colours.png")
    (folder / "shapes.json").write_text(boxes_as_labelme("dog"))
    (folder / "yolo.txt").write_text("1 0.25 0.333333 0.5 0.666667\n")
    (folder / "voc.xml").write_text(
        "<annotation><object><name>dog</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>32</xmax><ymax>32</ymax>"
        "</bndbox></object></annotation>"
    )
    named = {1: "dog"}
    return {
        "array.npy": named,
        "map.tif": named,
        "colours.png": {"#ff0000": "dog"},
        "shapes.json": None,
        "yolo.txt": ["cat", "dog"],
        "voc.xml": None,
    }


def test_masks_are_recognised(run: Run, odd: Path) -> None:
    picture, out = odd / "plain.png", odd / "o.ssic"
    for name, names in masks(odd).items():
        given: list[object] = []
        if names is not None:
            (odd / "names.json").write_text(json.dumps(names))
            given = ["--names", odd / "names.json"]
        code, _, err = run("encode", picture, "-o", out, "--mask", odd / name, *given)
        assert (code, err) == (0, ""), name
        mask = GroupMask.from_any(odd / name, SIZE, names)
        assert list(mask.names.values()) == ["background", "dog"], name
        assert out.read_bytes() == ssic.encode(picture, mask), name
    (odd / "legend.txt").write_text("# a legend\ndog:255,0,0::\n")
    line = ["encode", picture, "-o", out, "--mask", odd / "colours.png"]
    assert run(*line, "--names", odd / "legend.txt").code == 0
    assert [g.name for g in ssic.open(out).groups] == ["background", "dog"]
    (odd / "legend.txt").write_text("dog\ncat\n")
    code, _, err = run(*line, "--names", odd / "legend.txt")
    assert (code, "legend.txt: names are JSON, or lines of a legend" in err) == (2, True)
    code, _, err = run("encode", picture, "-o", out, "--mask", odd / "map.tif", "--group-by", "class")
    assert (code, "is a label map" in err) == (2, True)


def test_labels_to_ignore(run: Run, odd: Path) -> None:
    labels = np.zeros((SIZE[1], SIZE[0]), np.uint8)
    labels[:, 32:] = 255
    Image.fromarray(labels).save(odd / "void.png")
    line = ["encode", odd / "plain.png", "-o", odd / "o.ssic", "--mask", odd / "void.png"]
    assert run(*line).code == 0
    assert len(ssic.open(odd / "o.ssic").groups) == 2
    assert run(*line, "--ignore-label", 255).code == 0
    assert len(ssic.open(odd / "o.ssic").groups) == 1
    (odd / "masks").mkdir()
    (odd / "void.png").rename(odd / "masks/plain.png")
    run(
        "batch", "encode", odd / "plain.png", "-o", odd / "c", "--masks", odd / "masks", "--ignore-label", 255
    )
    assert (odd / "c/plain.ssic").read_bytes() == (odd / "o.ssic").read_bytes()


def test_annotations_of_many_pictures_are_searched_by_path(run: Run, odd: Path) -> None:
    places = ("one/a.png", "two/a.png")
    for place in places:
        (odd / place).parent.mkdir()
        (odd / "plain.png").rename(odd / place) if place == places[0] else None
    (odd / places[1]).write_bytes((odd / places[0]).read_bytes())
    images = [
        {"id": n, "file_name": f"set/{place}", "width": SIZE[0], "height": SIZE[1]}
        for n, place in enumerate(places)
    ]
    shape = [[0, 0, 32, 0, 32, 32, 0, 32]]
    (odd / "coco.json").write_text(
        json.dumps(
            {
                "images": images,
                "categories": [{"id": 7, "name": "dog"}, {"id": 8, "name": "cat"}],
                "annotations": [
                    {"id": n, "image_id": n, "category_id": 7 + n, "segmentation": shape, "iscrowd": 0}
                    for n in (0, 1)
                ],
            }
        )
    )
    pytest.importorskip("pycocotools")
    for option in ("--coco", "--mask"):
        for place, name in zip(places, ("dog", "cat"), strict=True):
            assert run("encode", odd / place, "-o", odd / "o.ssic", option, odd / "coco.json").code == 0
            assert [g.name for g in ssic.open(odd / "o.ssic").groups] == ["background", name]


def test_folders_of_masks_of_all_kinds(run: Run, odd: Path) -> None:
    (odd / "masks").mkdir()
    (odd / "in").mkdir()
    for name in ("a", "b", "c"):
        (odd / f"in/{name}.png").write_bytes((odd / "plain.png").read_bytes())
    masks(odd / "masks")
    (odd / "masks/array.npy").rename(odd / "masks/a.npy")
    (odd / "masks/yolo.txt").rename(odd / "masks/b.txt")
    (odd / "names.json").write_text('{"1": "dog", "2": "cow"}')
    line = [
        "batch",
        "encode",
        odd / "in",
        "-o",
        odd / "c",
        "--masks",
        odd / "masks",
        "--workers",
        1,
        "--json",
    ]
    found = run(*line, "--names", odd / "names.json")
    facts = json.loads(found.out)
    assert (found.code, facts["encoded"], facts["warnings"]) == (
        3,
        2,
        [],
    )  # of no cow: names are the data set's
    assert [g.name for g in ssic.open(odd / "c/a.ssic").groups] == ["background", "dog"]
    assert [g.name for g in ssic.open(odd / "c/b.ssic").groups] == ["background", "dog"]
    assert f"there is no mask {odd}/masks/c with one of the suffixes .png" in facts["failures"][0]["error"]
    assert json.loads(run(*line, "--names", odd / "names.json").out)["kept"] == 2
    (odd / "masks/a.json").write_text(boxes_as_labelme("cow"))
    said = json.loads(run(*line, "--names", odd / "names.json").out)["failures"][0]["error"]
    assert f"which is the mask, {odd}/masks/a.npy or {odd}/masks/a.json?" in said
    (odd / "masks/a.npy").unlink()
    assert json.loads(run(*line).out)["encoded"] == 2
    assert [g.name for g in ssic.open(odd / "c/a.ssic").groups] == ["background", "cow"]
    code, _, err = run(
        "encode",
        odd / "plain.png",
        "-o",
        odd / "o.ssic",
        "--mask",
        odd / "masks/map.tif",
        "--names",
        odd / "names.json",
    )
    assert (code, "names of labels that do not occur" in err) == (0, True)


# -- what shall not tell of hidden groups ----------------------------------------------------------------------


def test_renumbering_and_padding(run: Run, inputs: Path, tmp_path: Path) -> None:
    people = [{"box": [32 * n, 0, 32 * n + 32, 32], "class": "person"} for n in range(3)]
    (tmp_path / "boxes.json").write_text(json.dumps(people))
    me = tmp_path / "me.key"
    key = run("keygen", "-o", me).out.strip()
    file, out = tmp_path / "p.ssic", tmp_path / "s.ssic"
    assert run("encode", inputs / "photo.png", "-o", file, "--boxes", tmp_path / "boxes.json").code == 0
    line = ["encrypt", file, "--groups", "person 2", "--recipient", key, "-o", out, "--hide-outline"]
    code, _, err = run(*line)
    assert (code, "--renumber" in err) == (0, True)
    code, _, err = run(*line, "--renumber")
    assert (code, err) == (0, "")
    left = ssic.open(out).groups
    assert [(g.id, g.name) for g in left if not g.encrypted] == [
        (0, "background"),
        (1, "person 1"),
        (2, "person 2"),
    ]
    # What is sealed is what was named, under its new name.
    clear = ssic.open(bytes(ssic.decrypt(out, ssic.Identity.load(me))))
    hidden = next(g for g in clear.groups if g.name == "person 3")
    assert np.array_equal(clear.decode([hidden.id]), ssic.open(file).decode(["person 2"]))

    at_once = ["encode", inputs / "photo.png", "-o", tmp_path / "q.ssic", "--boxes", tmp_path / "boxes.json"]
    sealing = ["--encrypt", "person 2", "--recipient", key, "--hide-names", "--renumber", "--pad"]
    code, _, err = run(*at_once, *sealing)
    assert (code, err) == (0, "")
    assert [g.name for g in ssic.open(tmp_path / "q.ssic").groups][:3] == [
        "background",
        "person 1",
        "person 2",
    ]
    for command in ("encode", "encrypt"):
        (tmp_path / "boxes").mkdir(exist_ok=True)
        (tmp_path / "boxes/photo.json").write_text(json.dumps(people))
        given: list[object] = [inputs / "photo.png", "--boxes", tmp_path / "boxes"]
        asked: list[object] = ["--encrypt", "person 2"]
        if command == "encrypt":
            given, asked = [file], ["--groups", "person 2"]
        many = ["batch", command, *given, *asked, "--recipient", key, "--hide-names", "--renumber", "--pad"]
        found = run(*many, "-o", tmp_path / command, "--json")
        assert (found.code, json.loads(found.out)["warnings"]) == (0, [])
        made = next((tmp_path / command).glob("*.ssic"))
        names = [g.name for g in ssic.open(made).groups]
        assert names[:3] == ["background", "person 1", "person 2"]
    lengths = []
    for pad in ([], ["--pad"]):
        assert run("encrypt", file, "--groups", "person 1", "--recipient", key, "-o", out, *pad).code == 0
        lengths.append(ssic.open(out)["person 1"].length)
    assert lengths[0] <= lengths[1] <= lengths[0] * 9 / 8 + 8


def test_damage_that_is_copied_is_told_by_the_exit_code(run: Run, inputs: Path, tmp_path: Path) -> None:
    broken = damaged(inputs / "photo.ssic", tmp_path / "broken.ssic", "dog")
    me = tmp_path / "me.key"
    key = run("keygen", "-o", me).out.strip()
    sealed, again, clear = (tmp_path / f"{name}.ssic" for name in ("sealed", "again", "clear"))
    for line in (
        ["encrypt", broken, "--groups", "person", "--recipient", key, "-o", sealed],
        ["rewrap", sealed, "--identity", me, "--recipient", key, "-o", again],
        ["decrypt", again, "--identity", me, "-o", clear],
    ):
        code, out, err = run(*line)
        assert (code, "damaged, and copied as they are: dog" in err) == (3, True), line
        assert str(line[-1]) in out
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert ssic.open(clear).damaged() == ["dog"]
    found = run(
        "batch",
        "encrypt",
        broken,
        "-o",
        tmp_path / "many",
        "--groups",
        "person",
        "--recipient",
        key,
        "--json",
    )
    assert (found.code, json.loads(found.out)["damaged"][0]["groups"]) == (3, ["dog"])
    whole = ["encrypt", inputs / "photo.ssic", "--groups", "person", "--recipient", key, "-o", sealed]
    assert run(*whole).code == 0


def test_protocols_are_read_where_they_are_named(run: Run, inputs: Path, tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.write(inputs / "photo.ssic", "photo.ssic")
    url = f"zip://photo.ssic::file://{tmp_path}/all.zip"
    code, _, err = run("info", url)
    assert (code, "--protocols" in err) == (2, True)
    assert run("info", url, "--protocols", "zip").code == 0
    assert (
        run("extract", url, "--groups", "dog", "-o", tmp_path / "dog.ssic", "--protocols", "ftp, zip").code
        == 0
    )
    assert [g.name for g in ssic.open(tmp_path / "dog.ssic").groups] == ["dog"]
    code, _, err = run("info", url, "--protocols", "ftp")
    assert (code, "zip is none of them" in err) == (2, True)
