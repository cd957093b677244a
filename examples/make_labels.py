"""Draw the label map of the demo photograph, and annotations to match: `python examples/make_labels.py`.

The polygons were traced by hand, in pixels of the photograph (512x600), from back to front. The photograph itself
is not in this repository: matplotlib brings it (a portrait of Grace Hopper by the US Navy, in the public domain).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from PIL import Image, ImageDraw

SIZE = (512, 600)
HERE = Path(__file__).parent

# Label 0, the backdrop, is what no polygon covers.
COLOURS = {
    "backdrop": (76, 155, 232),
    "flag": (228, 87, 46),
    "uniform": (91, 95, 199),
    "face": (242, 177, 52),
    "cap": (23, 163, 152),
    "name tag": (155, 93, 229),
    "ribbons": (239, 71, 111),
}

# The same objects as a detector might report them: category by object, and boxes.
CATEGORIES = {"face": "face", "cap": "cap", "name tag": "badge", "ribbons": "badge"}
BOXES = [{"box": [150, 20, 380, 412], "name": "head"}, {"box": [76, 480, 173, 521], "name": "name tag"}]

# fmt: off
POLYGONS = {
    "flag": [
        (0, 0), (231, 0), (235, 10), (236, 18), (229, 28), (222, 45), (215, 60), (215, 340), (60, 400),
        (40, 460), (20, 600), (0, 600),
    ],
    "uniform": [
        (11, 600), (14, 555), (16, 518), (25, 442), (33, 416), (43, 394), (56, 378), (86, 363), (137, 350),
        (168, 340), (185, 328), (196, 316), (204, 313), (330, 312), (345, 324), (366, 340), (406, 358), (447, 373),
        (475, 382), (490, 391), (500, 409), (511, 445), (511, 600),
    ],
    "face": [
        (155, 184), (153, 200), (155, 218), (162, 244), (160, 268), (168, 281), (182, 291), (198, 299), (203, 311),
        (206, 320), (208, 350), (218, 381), (246, 408), (274, 406), (295, 391), (310, 376), (325, 335), (330, 312),
        (332, 305), (340, 307), (350, 299), (358, 280), (363, 260), (373, 224), (376, 193), (372, 180), (366, 172),
        (360, 120), (160, 120),
    ],
    "cap": [
        (152, 184), (151, 150), (154, 101), (166, 91), (173, 84), (173, 74), (192, 52), (215, 41), (222, 31),
        (242, 25), (264, 22), (290, 26), (303, 40), (325, 48), (344, 65), (353, 87), (362, 86), (368, 96),
        (372, 137), (370, 181), (366, 172), (357, 155), (340, 145), (305, 136), (279, 131), (204, 131), (188, 139),
        (170, 156), (160, 175),
    ],
    "name tag": [  # generous: the name must be inside
        (78, 481), (154, 486), (172, 503), (172, 520), (77, 513),
    ],
    "ribbons": [
        (364, 488), (410, 488), (410, 500), (453, 501), (450, 526), (323, 526), (350, 501), (364, 501),
    ],
}
# fmt: on


def draw() -> Image.Image:
    """The label map: palette image, one label per pixel."""
    labels = Image.new("P", SIZE, 0)
    labels.putpalette([v for colour in COLOURS.values() for v in colour])
    pen = ImageDraw.Draw(labels)
    names = list(COLOURS)
    for name, corners in POLYGONS.items():
        pen.polygon(corners, fill=names.index(name))
    return labels


def coco() -> dict[str, object]:
    """Some of the polygons as COCO annotations."""
    kinds = list(dict.fromkeys(CATEGORIES.values()))
    annotations = []
    for number, (name, kind) in enumerate(CATEGORIES.items(), start=1):
        xs, ys = zip(*POLYGONS[name], strict=True)
        annotations.append(
            {
                "id": number,
                "image_id": 1,
                "category_id": kinds.index(kind) + 1,
                "segmentation": [[v for corner in POLYGONS[name] for v in corner]],
                "bbox": [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)],
                "area": abs(sum(xs[i - 1] * ys[i] - xs[i] * ys[i - 1] for i in range(len(xs)))) / 2,
                "iscrowd": 0,
            }
        )
    return {
        "images": [{"id": 1, "file_name": "photo.jpg", "width": SIZE[0], "height": SIZE[1]}],
        "categories": [{"id": n, "name": kind} for n, kind in enumerate(kinds, start=1)],
        "annotations": annotations,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=HERE, help="where the files go")
    folder = parser.parse_args().folder
    draw().save(folder / "grace_hopper_labels.png", optimize=True)
    files = {
        "names": {str(label): name for label, name in enumerate(COLOURS)},
        "boxes": BOXES,
        "annotations": coco(),
    }
    for name, content in files.items():
        (folder / f"grace_hopper_{name}.json").write_text(json.dumps(content) + "\n")


if __name__ == "__main__":
    main()
