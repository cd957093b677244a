"""`ssic preview`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ssic.cli.files import check_local, check_output, check_stdin, is_stdout, write
from ssic.cli.limits import LimitOptions
from ssic.cli.masks import MaskOptions
from ssic.cli.options import PictureOutput
from ssic.cli.pictures import PictureOptions
from ssic.cli.terminal import progress, say
from ssic.pictures.preview import captions, draw
from ssic.pictures.write import picture_bytes, picture_kind


def preview(
    picture: Annotated[Path, typer.Argument(metavar="IN", help="Picture: a path, or - for stdin.")],
    output: PictureOutput,
    masks: MaskOptions,
    reading: PictureOptions,
    limits: LimitOptions,
) -> None:
    """Write the picture with its groups outlined and labelled: what encode makes of the same options."""
    inputs = (picture, *masks.files)
    check_local((picture, *masks.local))
    check_stdin(inputs)
    recipe = masks.recipe()
    reading.wishes()
    check_output(output, inputs, as_json=False)
    picture_kind(output)  # refuses a suffix before the work, not after it
    with progress("reading the picture") as stage:
        loaded = reading.load(picture, limits)
        stage("reading the mask" if recipe.segmenter is None else "finding the groups")
        groups = masks.make(recipe, loaded, picture)
        texts = captions(groups)
        data = picture_bytes(draw(loaded.pixels, groups, texts), output, loaded.icc)
    write(output, data)
    if not is_stdout(output):
        say(f"{output}: {', '.join(' '.join(text.split()) for text in texts.values())}")
