"""What commands are given."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ssic
from helpers.commands import PROFILE, SIZE, picture


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that the examples of docs/cli.md start from, and photo.ssic."""
    folder = tmp_path_factory.mktemp("inputs")
    picture().save(folder / "photo.jpg", quality=95)
    picture().save(folder / "photo.png", icc_profile=PROFILE)
    labels = np.zeros((SIZE[1], SIZE[0]), np.uint8)
    labels[16:48, 0:32] = 1
    labels[16:64, 48:80] = 2
    Image.fromarray(labels).save(folder / "labels.png")
    (folder / "names.json").write_text('{"1": "dog", "2": "person"}')
    (folder / "boxes.json").write_text('[{"box": [0, 16, 32, 48], "class": "dog"}, [48, 16, 80, 64]]')
    shapes = [
        (1, [0, 0, 33, 0, 33, 32, 0, 32]),
        (2, [48, 32, 96, 32, 96, 64, 48, 64]),
        (2, [1, 50, 5, 50, 5, 55]),
    ]
    coco = {
        "images": [
            {"id": n, "file_name": name, "width": SIZE[0], "height": SIZE[1]}
            for n, name in ((139, "photo.jpg"), (140, "other.jpg"))
        ],
        "categories": [{"id": 1, "name": "dog"}, {"id": 2, "name": "person"}],
        "annotations": [
            {"id": n, "image_id": 139, "category_id": category, "segmentation": [polygon], "iscrowd": 0}
            for n, (category, polygon) in enumerate(shapes)
        ],
    }
    (folder / "annotations.json").write_text(json.dumps(coco))
    with Image.open(folder / "photo.png") as image:
        mask = ssic.GroupMask.from_label_map(folder / "labels.png", SIZE, folder / "names.json")
        data = ssic.encode(image, mask, group_quality={"person": 85})
    (folder / "photo.ssic").write_bytes(data)
    return folder
