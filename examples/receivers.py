"""One file, several receivers: `python examples/receivers.py` writes docs/img/receivers.jpg.

On the left a picture with its groups; beside it what each receiver gets of the one file: the groups that it needs, as
`ssic extract` takes them from the file, decoded alone, with the bytes under each.

By default the picture is the demo's portrait. For pictures of your own, a label map or COCO annotations, and receivers:

    python examples/receivers.py --picture street.jpg --coco annotations.json -o receivers.jpg \\
        --receiver "A person detector=person" --receiver "A dog classifier=dog" --receiver "A viewer="
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from lay_out import photograph
from make_picture import FAINT, HERE, INK, MARGIN, PAPER, checkered, font
from numpy.typing import NDArray
from PIL import Image, ImageDraw

import ssic
from ssic.pictures.preview import draw

RECEIVERS = (
    ("A face recogniser", ["face"]),
    ("An insignia reader", ["cap", "ribbons", "name tag"]),
    ("A viewer", []),
)
"""Title, and the groups that are sent; none means all."""
HEIGHT = 520
GAP, FOOT = 34, 150


def fitted(pixels: NDArray[np.uint8] | Image.Image) -> Image.Image:
    """At the height of the figure."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    return image.resize((round(image.width * HEIGHT / image.height), HEIGHT), Image.Resampling.LANCZOS)


def shortened(names: list[str], most: int = 34) -> str:
    """Names in a line of so many letters."""
    text = ", ".join(names)
    while len(text) > most and len(names) > 1:
        names = names[:-1]
        text = f"{', '.join(names)}, ..."
    return text


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-o", "--output", type=Path, default=HERE.parent / "docs" / "img" / "receivers.jpg")
    parser.add_argument(
        "--picture", type=Path, help="default: the demo's portrait, with its labels and names"
    )
    parser.add_argument("--labels", type=Path, help="label map of the picture")
    parser.add_argument("--names", type=Path, help="JSON with names of its labels")
    parser.add_argument("--coco", type=Path, help="COCO annotations, instead of a label map")
    parser.add_argument(
        "--receiver", action="append", metavar="TITLE=GROUP,...", help="repeatable; no group: all"
    )
    parser.add_argument("--quality", type=int, default=50)
    parser.add_argument("--group-quality", action="append", metavar="NAME=N", help="repeatable")
    options = parser.parse_args()
    if options.picture is not None and not (options.labels or options.coco):
        parser.error("a picture of yours needs --labels or --coco")

    exceptions = dict(item.rsplit("=", 1) for item in options.group_quality or ())
    if options.picture is None:
        options.picture = photograph()
        options.labels, options.names = (
            HERE / f"grace_hopper_{name}" for name in ("labels.png", "names.json")
        )
        exceptions = exceptions or {"face": 70, "ribbons": 70, "name tag": 70}
    photo = np.asarray(Image.open(options.picture).convert("RGB"))
    size = photo.shape[1], photo.shape[0]
    if options.coco is not None:
        mask = ssic.GroupMask.from_coco(options.coco, size, file_name=options.picture.name, rule="any")
    else:
        mask = ssic.GroupMask.from_label_map(options.labels, size, options.names)
    data = ssic.encode(
        photo, mask, quality=options.quality, group_quality={name: int(q) for name, q in exceptions.items()}
    )
    receivers = [
        (title, [name.strip() for name in names.split(",") if name.strip()])
        for title, _, names in (item.partition("=") for item in options.receiver or ())
    ] or list(RECEIVERS)

    labels = {g: mask.names[g] for g in mask.groups}
    columns = [
        (
            "One picture, in groups",
            f"{len(mask.groups)} groups in one file",
            len(data),
            fitted(draw(photo, mask, labels)),
        )
    ]
    for title, names in receivers:
        part = bytes(ssic.SsicFile(data).extract(names)) if names else data
        shown = [mask.names[g] for g in (mask.resolve(names) if names else mask.groups)]
        view = checkered(ssic.decode(part, fill="transparent"))
        columns.append((title, shortened(shown) if names else "everything", len(part), fitted(view)))

    width = 2 * MARGIN + sum(picture.width for *_, picture in columns) + GAP * len(columns)
    canvas = Image.new("RGB", (width, HEIGHT + FOOT + MARGIN), PAPER)
    pen = ImageDraw.Draw(canvas)
    x = MARGIN
    for n, (title, groups, size_bytes, picture) in enumerate(columns):
        canvas.paste(picture, (x, MARGIN))
        y = MARGIN + HEIGHT + 30
        pen.text((x, y), title, font=font(30), fill=INK, anchor="lm")
        pen.text((x, y + 38), groups, font=font(24), fill=FAINT, anchor="lm")
        share = f"{size_bytes:,} bytes" + (f", {size_bytes / len(data):.0%}" if n else "")
        pen.text((x, y + 78), share, font=font(30), fill=INK, anchor="lm")
        x += picture.width + GAP
        if n == 0:  # the file on one side of the line, its receivers on the other
            pen.line([(x, MARGIN), (x, MARGIN + HEIGHT + 120)], fill=FAINT, width=2)
            x += GAP
    options.output.parent.mkdir(parents=True, exist_ok=True)
    canvas.save(options.output, quality=84, subsampling=0, optimize=True)
    print(f"{options.output}: {canvas.width}x{canvas.height}, {options.output.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
