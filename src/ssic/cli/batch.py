"""`ssic batch encode`, `ssic batch decode` and `ssic batch encrypt`."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from ssic.batch import Decoder, DecodeRecipe, Encoder, Recipe, Sealer, SealRecipe, find_jobs
from ssic.cli.batch_run import Inputs, OutputFolder, RunOptions, find, run
from ssic.cli.decode import Crop, Fill, Scale, SomeGroups
from ssic.cli.effort import Effort
from ssic.cli.files import check_local, is_stdin, named, split
from ssic.cli.keys import Cipher, Encrypted, HideOptions, Identities, Recipients, Trust, locks, verify_keys
from ssic.cli.limits import LimitOptions
from ssic.cli.manner import manner
from ssic.cli.masks import BatchMaskOptions
from ssic.cli.options import Engine, Groups, Model, ModelOfFile
from ssic.cli.pictures import PictureOptions
from ssic.cli.rate import Rate, RateOptions
from ssic.codec import check_scale
from ssic.errors import InvalidInput
from ssic.model.weights import DEFAULT_MODEL
from ssic.pictures.fill import check_fill
from ssic.pictures.write import picture_kind


def encode(
    pictures: Inputs,
    output: OutputFolder,
    running: RunOptions,
    masks: BatchMaskOptions,
    rates: RateOptions,
    reading: PictureOptions,
    limits: LimitOptions,
    *,
    encrypt: Encrypted = None,
    recipient: Recipients = None,
    hiding: HideOptions,
    model: Model = DEFAULT_MODEL,
    engine: Engine = "auto",
    effort: Effort = 1,
) -> None:
    """Encode many pictures. What an earlier run did, and is still intact, is kept."""
    begun = time.perf_counter()
    running.check()
    check_local((masks.masks, masks.names, masks.boxes, masks.coco, model))
    mask, rate, secret = masks.recipe(), rates.read(), split(encrypt)
    _check_sealing(secret, rate, bool(recipient or hiding.given), recipient)
    hiding.check()
    if secret is not None and mask.segmenter is not None:
        mask = replace(mask, always=secret)
    recipe = Recipe(
        quality=60 if rate.quality is None else rate.quality,
        group_quality={str(name): quality for name, quality in rate.group_quality.items()},
        target=rate.target,
        group_targets={str(name): target for name, target in rate.group_targets.items()},
        order=rate.order,
        mask=mask,
        encrypt=secret,
        recipients=_public_keys(recipient) if secret is not None else (),
        **hiding.how(),
        **reading.wishes(),
        max_pixels=limits.max_pixels,
        max_memory=limits.max_memory,
        model=model,
        engine=engine,
        effort=None if effort == 1 else effort,
    )
    recipe.check(here=running.here)
    found, known = find(pictures, output, running)
    mask.prepare()
    work = Encoder(recipe.identity(), output, manner().no_clobber, recipe)
    jobs = find_jobs(found.files, known, masks=masks.masks, boxes=masks.boxes, coco=masks.coco)
    wanted = {
        "--group-quality": recipe.group_quality,
        "--group-target": recipe.group_targets,
        "--order": recipe.order or (),
    }
    # Only of what a segmenter looks for there may be none in a picture; else it fails.
    sealed = recipe.encrypt if mask.segmenter is not None else None
    if sealed is not None:
        wanted["--encrypt"] = sealed
    gpu, most = engine.startswith("torch:cuda"), recipe.most_workers
    run(jobs, work, found, known, running, wanted, begun, gpu=gpu, most=most, sealed=sealed)


def _check_sealing(secret: list[str] | None, rate: Rate, told: bool, recipient: list[str] | None) -> None:
    if secret is None:
        if told:
            raise InvalidInput("recipients and hiding are of use with --encrypt only")
        return
    if not recipient:
        raise InvalidInput("--encrypt: for whom? --recipient KEY|FILE must say it")
    targets = (rate.target, *rate.group_targets.values())
    if any(target is not None and not target.strip().startswith("psnr") for target in targets):
        raise InvalidInput(
            "with --encrypt, targets can be of PSNR only: bytes and bits would be counted before groups are "
            "sealed, which adds some 82 bytes each"
        )


def decode(
    files: Inputs,
    output: OutputFolder,
    running: RunOptions,
    limits: LimitOptions,
    to: Annotated[
        str,
        typer.Option(
            metavar="SUFFIX", help="Format of the pictures: png, jpg, webp, avif, tif, jp2, ppm or bmp."
        ),
    ] = "png",
    groups: SomeGroups = None,
    fill: Fill = "black",
    crop: Crop = False,
    scale: Scale = 1,
    identity: Identities = None,
    trust: Trust = None,
    model: ModelOfFile = None,
    engine: Engine = "auto",
) -> None:
    """Decode many files, or some of their groups, to pictures. What an earlier run did, and is still intact, is
    kept."""
    begun = time.perf_counter()
    running.check()
    suffix = f".{to.lstrip('.').lower()}"
    picture_kind(Path(f"picture{suffix}"), alpha=check_fill(fill))
    check_local([*(identity or ()), *(trust or ()), model])
    if any(is_stdin(path) for path in identity or ()):
        raise InvalidInput("--identity -: the workers read the key, each for itself: give it as a file")
    recipe = DecodeRecipe(
        suffix=suffix,
        groups=split(groups),
        fill=fill,
        crop=crop,
        scale=None if check_scale(scale) == 1 else scale,
        model=model,
        identities=tuple(identity or ()),
        trust=tuple(map(str, verify_keys(trust) or ())),
        engine=engine,
        max_pixels=limits.max_pixels,
        max_memory=limits.max_memory,
    )
    recipe.check(here=running.here)
    found, known = find(files, output, running, coded=True, to=suffix)
    work = Decoder(recipe.identity(), output, manner().no_clobber, recipe)
    run(
        find_jobs(found.files, known),
        work,
        found,
        known,
        running,
        {},
        begun,
        gpu=engine.startswith("torch:cuda"),
        most=recipe.most_workers,
    )


def encrypt(
    files: Inputs,
    output: OutputFolder,
    groups: Groups,
    running: RunOptions,
    limits: LimitOptions,
    *,
    recipient: Recipients = None,
    hiding: HideOptions,
    cipher: Cipher = None,
) -> None:
    """Seal groups of many files. A file without one of them fails: it would be passed on in clear. What an earlier run
    did, and is still intact, is kept."""
    begun = time.perf_counter()
    running.check()
    if not recipient:
        raise InvalidInput("for whom? --recipient KEY|FILE must say it")
    hiding.check()
    recipe = SealRecipe(
        tuple(named("--groups", groups)),
        _public_keys(recipient),
        cipher=cipher,
        max_pixels=limits.max_pixels,
        max_memory=limits.max_memory,
        **hiding.how(),
    )
    recipe.check()
    found, known = find(files, output, running, coded=True)
    if same := [path for path, place in found.files if (output / place).resolve() == path.resolve()]:
        raise InvalidInput(
            f"{same[0]} would be overwritten by what is made of it: take another folder of outputs"
        )
    work = Sealer(recipe.identity(), output, manner().no_clobber, recipe)
    run(find_jobs(found.files, known), work, found, known, running, {}, begun)


def _public_keys(recipient: list[str] | None) -> tuple[str, ...]:
    check_local(recipient or ())
    return tuple(map(str, locks(recipient, False, None)))
