"""Many pictures: options of `ssic encode` that `ssic batch encode` has, too, and that they make the same files."""

from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import ssic
from helpers.commands import Run
from helpers.masks import blob_mask
from helpers.pictures import natural_picture
from helpers.weights import another_synthesis, variant
from ssic.batch import DecodeRecipe, Recipe, default_workers, read_records
from ssic.engine.threads import available_threads
from ssic.groups.recipe import MaskRecipe
from ssic.model.weights import find_weights, load_weights

QUALITIES = ("--group-quality", "group 1=20")


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """pictures/a.png and b.png, masks and boxes of both; only a has a group 2, and only b's box is a face."""
    for name in ("pictures", "masks", "boxes"):
        (tmp_path / name).mkdir()
    for n, name in enumerate("ab"):
        Image.fromarray(natural_picture(n, 64, 80)).save(tmp_path / f"pictures/{name}.png")
        Image.fromarray(blob_mask(n, 4, 5, 3 - n)).save(tmp_path / f"masks/{name}.png")
        box = {"box": [0, 0, 32, 32], "name": ("dog", "face")[n]}
        (tmp_path / f"boxes/{name}.json").write_text(json.dumps([box]))
    return tmp_path


def test_workers_are_as_many_as_there_is_work_and_room_for() -> None:
    cores = available_threads()
    assert default_workers(10_000) == default_workers(10_000, 10_000) == cores
    assert default_workers(10_000, 1) == 1
    assert default_workers(8, 10_000) == min(2, cores)
    assert default_workers(1) == 1


def batch(run: Run, inputs: Path, *options: object, code: int = 0) -> dict[str, Any]:
    found, out, err = run("batch", "encode", inputs / "pictures", "-o", inputs / "out", "--json", *options)
    assert found == code, err
    return json.loads(out) | {"said": err}


@pytest.mark.parametrize(
    "options",
    [
        ("--target-bytes", 900),
        ("--target-bpp", 1.5, *QUALITIES),
        ("--target-psnr", 27),
        ("--group-target", "group 1=psnr:30", "--quality", 30),
        ("--order", "group 1", *QUALITIES),
    ],
)
def test_rate_and_order_are_those_of_encode(run: Run, inputs: Path, options: tuple[Any, ...]) -> None:
    batch(run, inputs, "--masks", inputs / "masks", *options)
    for name in "ab":
        one = inputs / f"{name}.ssic"
        mask = inputs / f"masks/{name}.png"
        assert run("encode", inputs / f"pictures/{name}.png", "-o", one, "--mask", mask, *options).code == 0
        assert one.read_bytes() == (inputs / f"out/{name}.ssic").read_bytes()
    assert batch(run, inputs, "--masks", inputs / "masks", *options)["kept"] == 2


def test_grids_and_boxes_are_those_of_encode(run: Run, inputs: Path) -> None:
    for of_batch, of_encode in ((("--grid", "2x3"),) * 2, (("--boxes", inputs / "boxes"), ("--boxes", None))):
        batch(run, inputs, *of_batch)
        for name in "ab":
            one = inputs / f"{name}.ssic"
            given = [inputs / f"boxes/{name}.json" if option is None else option for option in of_encode]
            assert run("encode", inputs / f"pictures/{name}.png", "-o", one, *given).code == 0
            assert one.read_bytes() == (inputs / f"out/{name}.ssic").read_bytes()
    (inputs / "boxes/a.json").write_text("[[16, 16, 48, 48]]")
    (inputs / "boxes/b.json").unlink()
    found = batch(run, inputs, "--boxes", inputs / "boxes", code=3)
    assert (found["encoded"], found["failed"]) == (1, 1)
    assert "b.json" in found["failures"][0]["error"]


def test_names_that_no_picture_has_are_told_per_option(run: Run, inputs: Path) -> None:
    options = ("--group-target", "group 2=psnr:28,cat=psnr:30", "--order", "group 2,cow")
    found = batch(run, inputs, "--masks", inputs / "masks", *options)
    assert found["encoded"] == 2
    assert found["unmatched"] == ["cat", "cow"]
    assert '--group-target: no picture has a group "cat"' in found["said"]
    assert '--order: no picture has a group "cow"' in found["said"]
    assert ssic.open(inputs / "out/a.ssic").head.order[0] == 2


def test_a_target_out_of_reach_costs_that_picture(run: Run, inputs: Path) -> None:
    found = batch(run, inputs, "--masks", inputs / "masks", "--group-target", "group 2=bytes:1", code=3)
    assert (found["encoded"], found["failed"]) == (1, 1)  # b has no group 2
    assert '"group 2" can\'t be brought to 1 bytes' in found["failures"][0]["error"]


def test_sealed_at_once_and_never_in_clear(run: Run, inputs: Path) -> None:
    me = ssic.Identity.generate()
    (inputs / "me.pub").write_text(str(me.recipient))
    sealing = ("--boxes", inputs / "boxes", "--encrypt", "face", "--recipient", inputs / "me.pub")
    found = batch(run, inputs, *sealing, code=3)
    assert (found["encoded"], found["failed"]) == (1, 1)
    assert found["failures"][0]["picture"].endswith("a.png")
    assert "Nothing is written, as it would be in clear" in found["failures"][0]["error"]
    assert not (inputs / "out/a.ssic").exists()
    data = (inputs / "out/b.ssic").read_bytes()
    assert [g.encrypted for g in ssic.SsicFile(data).groups] == [False, True]
    clear = inputs / "clear.ssic"
    run("encode", inputs / "pictures/b.png", "-o", clear, "--boxes", inputs / "boxes/b.json")
    assert bytes(ssic.decrypt(data, me)) == clear.read_bytes()
    again = batch(run, inputs, *sealing, code=3)
    assert (again["encoded"], again["kept"]) == (0, 1)
    hidden = batch(run, inputs, *sealing, "--hide-names", code=3)
    assert hidden["encoded"] == 1
    assert "face" not in [g.name for g in ssic.open(inputs / "out/b.ssic").groups]
    assert read_records(inputs / "out")["b.ssic"].groups == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--grid", "2by2"), "--grid 2by2"),
        (("--grid", "2x2", "--segment", "foreground"), "--grid and --segment exclude each other"),
        (("--grid", "2x2", "--block-rule", "any"), "--block-rule is of use"),
        (("--boxes", "nowhere"), "--boxes nowhere: there is no such folder"),
        (("--quality", 50, "--target-psnr", 30), "exclude each other"),
        (("--target-bytes", -5), "target"),
        (("--group-target", "dog=30"), "--group-target dog=30"),
        (("--encrypt", "face"), "for whom?"),
        (("--recipient", "ssicpub1-x"), "--encrypt only"),
        (("--encrypt", "face", "--recipient", "ssicpub1-x"), "key"),
        (("--encrypt", "face", "--recipient", "k", "--target-bpp", 1), "of PSNR only"),
        (("--encrypt", "face", "--recipient", "k", "--group-target", "a=bytes:300"), "of PSNR only"),
        (("--root", "nowhere"), "does not lie below"),
    ],
)
def test_wrong_usage_is_told_before_the_work(run: Run, inputs: Path, options: Any, said: str) -> None:
    code, _, err = run("batch", "encode", inputs / "pictures", "-o", inputs / "out", *options)
    assert (code, said in err) == (2, True), err
    assert not (inputs / "out").exists()


def test_a_recipe_is_the_same_in_any_order_of_its_entries() -> None:
    entries = {"person": 20, "person 1": 80, "dog": 5}
    orders = permutations(entries)
    assert len({Recipe(group_quality={n: entries[n] for n in order}).identity() for order in orders}) == 1
    recipes = [
        Recipe(),
        Recipe(group_quality={"dog": 5}),
        Recipe(group_targets={"dog": "psnr:5"}),
        Recipe(order=["dog", "cat"]),
        Recipe(order=["cat", "dog"]),
        Recipe(mask=MaskRecipe("grid", cells=(2, 3))),
        Recipe(mask=MaskRecipe("grid", cells=(3, 2))),
        Recipe(encrypt=["dog"], recipients=("a", "b")),
        Recipe(encrypt=["dog"], recipients=("a",)),
        Recipe(encrypt=["dog"], recipients=("a",), hide="names"),
        Recipe(target="bytes:900"),
        Recipe(encrypt=["dog"], recipients=("a",), hide="names", renumber=True),
        Recipe(encrypt=["dog"], recipients=("a",), hide="names", pad=True),
        Recipe(background="white"),
        Recipe(frame=0),
        Recipe(to_8_bit="round"),
        Recipe(mask=MaskRecipe("mask", names={(255, 0, 0): "dog"}, drop_empty=True)),
        Recipe(mask=MaskRecipe("mask", names=["dog"], drop_empty=True)),
        Recipe(mask=MaskRecipe("mask", ignore_label=0, drop_empty=True)),
    ]
    assert len({recipe.identity() for recipe in recipes}) == len(recipes)
    backwards = Recipe(encrypt=["dog"], recipients=("b", "a"))
    assert backwards.identity() == recipes[7].identity()
    assert Recipe(max_pixels=5, engine="onnx").identity() == recipes[0].identity()


def test_a_recipe_is_another_with_other_weights_of_the_same_id(tmp_path: Path) -> None:
    """Analysis and what an error is worth decide what is encoded, synthesis what a search for a PSNR finds."""
    paths = [
        another_synthesis(tmp_path / "floats.safetensors"),
        variant(tmp_path / "worth.safetensors", step_worth=20.0),
    ]
    models = ["small", *map(str, paths)]
    assert len({load_weights(find_weights(model)).id for model in models}) == 1
    for kind in (Recipe, DecodeRecipe):
        assert len({kind(model=model).identity() for model in models}) == 3
        assert kind(model=str(find_weights("small"))).identity() == kind(model="small").identity()


def test_qualities_don_t_depend_on_the_order_of_entries(run: Run, inputs: Path) -> None:
    """So that a file that is kept is the one that the options describe."""
    data = [{"box": [0, 0, 32, 32], "class": "person", "name": f"person {n}"} for n in (1, 2)]
    data[1]["box"] = [32, 32, 64, 64]
    for name in "ab":
        (inputs / f"boxes/{name}.json").write_text(json.dumps(data))
    options = ("--boxes", inputs / "boxes", "--group-quality")
    assert batch(run, inputs, *options, "person=20,person 1=80")["encoded"] == 2
    qualities = {g.name: g.quality for g in ssic.open(inputs / "out/a.ssic").groups}
    assert qualities == {"background": 60, "person 1": 80, "person 2": 20}
    first = (inputs / "out/a.ssic").read_bytes()
    assert batch(run, inputs, *options, "person 1=80,person=20")["kept"] == 2
    one = inputs / "one.ssic"
    line = ("encode", inputs / "pictures/a.png", "-o", one, "--boxes", inputs / "boxes/a.json")
    assert run(*line, "--group-quality", "person 1=80,person=20").code == 0
    assert one.read_bytes() == first
    assert np.array_equal(ssic.open(one).decode(), ssic.decode(first))
