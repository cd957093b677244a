"""`ssic preview`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ssic.cli.files import check_local, check_output, check_stdin, is_pipe, write
from ssic.cli.masks import NOTHING_SAID, MaskOptions, with_mask_options
from ssic.cli.pictures import Background, Frame, MaxPixels, To8Bit, load
from ssic.cli.terminal import progress, say


@with_mask_options
def preview(
    picture: Annotated[Path, typer.Argument(metavar="IN", help="Picture; - reads stdin.")],
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="Picture to write; its suffix says how. - is a PNG to stdout."),
    ],
    groups_from: MaskOptions = NOTHING_SAID,
    to_8_bit: To8Bit = None,
    background: Background = None,
    frame: Frame = None,
    max_pixels: MaxPixels = None,
) -> None:
    """Write the picture with its groups outlined and labelled, to look at before it is encoded."""
    groups_from.check()
    inputs = (picture, *groups_from.files)
    check_local((picture, *groups_from.local))
    check_output(output, inputs, as_json=False)
    check_stdin(inputs)
    with progress("reading the picture") as stage:
        from ssic.pictures.preview import captions, draw
        from ssic.pictures.write import picture_bytes, picture_kind

        picture_kind(output)  # refuses a suffix before the work, not after it
        loaded = load(picture, to_8_bit, background, frame, max_pixels)
        stage("finding the groups")
        groups = groups_from.maker()(loaded, str(picture))
        texts = captions(groups)
        data = picture_bytes(draw(loaded.pixels, groups, texts), output, loaded.icc)
    write(output, data)
    if not is_pipe(output):
        say(f"{output}: {', '.join(' '.join(text.split()) for text in texts.values())}")
