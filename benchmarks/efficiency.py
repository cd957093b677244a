"""How close the bytes come to what the entropy model asks for, and where the bytes of a file go.

For each picture and quality the picture is encoded with its mask, and compared are

- the bytes of all substreams with the ideal code length of their symbols under the integer tables
  (`Encoding.ideal_bits`): the loss of the range coder, its flushing and the rounding to bytes, for all groups;
- the bytes of the file with those of its segments: the head, in which are the mask, the names and the index;
- the bytes that serve the hyper-latent with those of the latent.

Everything but the ideal code length is counted in real files; the split of a substream into hyper-latent and
latent is to a byte. By default the demo photograph with nine groups; to run it on Kodak:

    python benchmarks/efficiency.py --images kodak --masks kodak_masks/paper
"""

from __future__ import annotations

import ssic
from _pictures import options as arguments
from _pictures import sets
from _report import emit, table

PARTS = ("file", "overhead", "head", "mask", "hyper", "substreams")


def main() -> None:
    options = arguments(__doc__, [20, 40, 60, 80])

    codec = ssic.Codec.load(options.model)
    measured = []
    for name, pixels, mask in sets(options.images, options.masks):
        for quality in options.qualities:
            encoding = codec.encode(pixels, mask, quality=quality)
            assert encoding.ideal_bits is not None  # there was no target
            info = ssic.SsicFile(encoding.data).info()
            substreams = sum(g["bytes"] for g in info["groups"])
            measured.append(
                {
                    "picture": name,
                    "quality": quality,
                    "pixels": pixels.shape[0] * pixels.shape[1],
                    "groups": len(info["groups"]),
                    "file": len(encoding.data),
                    "head": info["head_bytes"],
                    "mask": info["mask_bytes"],
                    "substreams": substreams,
                    "hyper": sum(encoding.hyper_bytes.values()),
                    "ideal": encoding.ideal_bits / 8,
                    "overhead": len(encoding.data) - substreams,
                }
            )

    rows = []
    for quality in options.qualities:
        of = [m for m in measured if m["quality"] == quality]
        total = {k: sum(m[k] for m in of) for k in of[0] if k != "picture"}
        loss = total["substreams"] - total["ideal"]
        rows.append(
            {
                "quality": quality,
                "bpp": 8 * total["file"] / total["pixels"],
                "loss_percent": 100 * loss / total["ideal"],
                "loss_bytes_per_group": loss / total["groups"],
                **{f"{k}_bytes_per_picture": total[k] / len(of) for k in PARTS},
            }
        )
    pictures, groups = (
        len({m["picture"] for m in measured}),
        sum(m["groups"] for m in measured) / len(measured),
    )
    shown = f"{groups:.3g} groups" if pictures == 1 else f"{groups:.1f} groups on average"
    summary = table(
        [
            "quality",
            "bpp",
            "file",
            "of which head",
            "of which mask",
            "hyper-latent",
            "latent",
            "above ideal",
            "per group",
        ],
        [
            [
                r["quality"],
                f"{r['bpp']:.3f}",
                f"{r['file_bytes_per_picture']:.0f} B",
                f"{r['overhead_bytes_per_picture']:.1f} B",
                f"{r['mask_bytes_per_picture']:.1f} B",
                f"{r['hyper_bytes_per_picture']:.0f} B",
                f"{r['substreams_bytes_per_picture'] - r['hyper_bytes_per_picture']:.0f} B",
                f"{r['loss_percent']:.2f} %",
                f"{r['loss_bytes_per_group']:.2f} B",
            ]
            for r in rows
        ],
    )
    note = f"{pictures} picture(s), {shown}; bytes per picture. The head holds the mask."
    results = {"by_quality": rows, "by_picture": measured}
    emit("Coding efficiency", results, [note, summary], options.json, options.model)


if __name__ == "__main__":
    main()
