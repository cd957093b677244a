"""What "only the persons" costs over HTTP: bytes and requests, against downloading AVIF of equal quality.

For each picture of a COCO set on which persons are annotated, a file with a group per object is put on a server on
loopback that counts. Then

- `ssic.open(url).decode("person")`: the requests that were made and the bytes of their bodies, and the PSNR of the
  persons' pixels (the groups of class "person", in whole blocks);
- AVIF (as in `ssic eval`: 4:4:4, speed 6, tuned for PSNR) of the whole picture, at the quality that gives these pixels
  the same PSNR: one request for the whole file. Between neighbouring qualities the logarithm of the bytes is
  interpolated;
- the same of the box around the persons: a file that somebody would have had to make beforehand.

The second table says what other sizes of the first request would have given (`ssic.storage.source.FIRST_BYTES`).

Headers of requests and answers are not counted; they are some hundred bytes per request on any server.

    python benchmarks/http_bytes.py coco/images coco/instances.json --pictures 30
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
import threading
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import ssic
from _report import emit, table
from ssic.eval.metrics import psnr
from ssic.eval.peers import find_peers
from ssic.eval.selective import measure_regions, regions_by_method, search
from ssic.groups.mask import DroppedGroups
from ssic.pictures.read import load_picture
from ssic.storage.source import FIRST_BYTES, joined

FIRST = (512, 1024, 2048, 4096, 8192)


class Server:
    """Serves one file by ranges and counts."""

    def __init__(self) -> None:
        self.data, self.requests, self.sent = b"", 0, 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                data, asked = outer.data, self.headers.get("Range")
                span = re.fullmatch(r"bytes=(\d+)-(\d+)", asked or "")
                start, stop = (int(span[1]), min(int(span[2]) + 1, len(data))) if span else (0, len(data))
                self.send_response(206 if span else 200)
                self.send_header("Content-Length", str(stop - start))
                if span:
                    self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(data)}")
                self.end_headers()
                self.wfile.write(data[start:stop])
                outer.requests += 1
                outer.sent += stop - start

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/picture"

    def serve(self, data: bytes) -> str:
        """-> URL of the data; counts start at zero."""
        self.data, self.requests, self.sent = data, 0, 0
        return self.url


def chosen(images: Path, annotations: Path, count: int) -> list[tuple[Path, ssic.GroupMask]]:
    """Pictures on which persons own a block, evenly picked, with their masks."""
    listed = json.loads(annotations.read_text())
    persons = {c["id"] for c in listed["categories"] if c["name"] == "person"}
    ids = {a["image_id"] for a in listed["annotations"] if a["category_id"] in persons and not a["iscrowd"]}
    entries = sorted((i for i in listed["images"] if i["id"] in ids), key=lambda i: i["id"])
    found = []
    warnings.simplefilter("ignore", DroppedGroups)  # objects without a block are nothing to be told here
    for entry in entries:
        path = images / entry["file_name"]
        if not path.exists():
            continue
        mask = ssic.GroupMask.from_coco(listed, (entry["width"], entry["height"]), image_id=entry["id"])
        if "person" in mask.classes.values():
            found.append((path, mask))
    return [found[i] for i in np.linspace(0, len(found) - 1, min(count, len(found))).astype(int)]


def planned(opened: ssic.SsicFile, wanted: list[int], first: int) -> tuple[int, int]:
    """Requests and bytes with a first request of so many bytes."""
    head = opened.head
    have = max(head.head_bytes, min(first, head.file_bytes))
    reads = joined((range(g.offset, g.offset + g.length) for g in head.groups if g.id in wanted), have)
    return 1 + (have > first) + len(reads), have + sum(map(len, reads))


def measure(path: Path, mask: ssic.GroupMask, quality: int, server: Server, work: Path) -> dict[str, Any]:
    picture = load_picture(path)
    data = ssic.encode(picture, mask, quality=quality)
    wanted = mask.resolve("person")
    opened = ssic.open(server.serve(data))
    opening = server.requests, server.sent
    decoded = opened.decode_pixels(wanted)
    ids = mask.to_pixels(*picture.size)
    shown: NDArray[np.bool_] = np.isin(ids, wanted)
    assert np.array_equal(decoded.present, shown)
    assert planned(opened, wanted, FIRST_BYTES) == (server.requests, server.sent)
    target = psnr(picture.pixels, decoded.pixels, shown)
    result: dict[str, Any] = {
        "picture": path.stem,
        "area": float(shown.mean()),
        "persons": len(wanted),
        "psnr": target,
        "file": len(data),
        "segments": sum(g.length for g in opened.groups if g.id in wanted),
        "first": {first: planned(opened, wanted, first) for first in FIRST},
        "ssic": {"requests": server.requests, "bytes": server.sent, "opening": opening},
    }
    (avif,) = find_peers(["avif"])
    regions = regions_by_method(picture.pixels, ids, wanted)
    for way in ("whole", "box"):
        measure = measure_regions(picture.pixels, shown, regions[way], avif, work)
        found = search(measure, target, avif.lowest or 0)
        result[f"avif {way}"] = None if found is None else {"requests": 1, "bytes": found.bytes_at(target)}
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", type=Path, help="folder of pictures")
    parser.add_argument("annotations", type=Path, help="COCO annotations")
    parser.add_argument("--pictures", type=int, default=30)
    parser.add_argument("--qualities", type=int, nargs="+", default=[40, 70])
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    server = Server()
    cases = chosen(options.images, options.annotations, options.pictures)
    rows: list[list[object]] = []
    firsts: list[list[object]] = []
    measured = []
    with tempfile.TemporaryDirectory() as work:
        for quality in options.qualities:
            of = [measure(path, mask, quality, server, Path(work)) for path, mask in cases]
            measured += [m | {"quality": quality} for m in of]
            of = [m for m in of if m["avif whole"] and m["avif box"]]
            total = {way: sum(m[way]["bytes"] for m in of) for way in ("ssic", "avif whole", "avif box")}
            mean = {key: float(np.mean([m[key] for m in of])) for key in ("psnr", "area", "file", "segments")}
            for first in FIRST:
                requests, sent = np.mean([m["first"][first] for m in of], axis=0)
                firsts.append([f"quality {quality}, {first} bytes", f"{requests:.2f}", f"{sent:.0f}"])
            rows.append(
                [
                    quality,
                    f"{mean['psnr']:.2f} dB",
                    f"{100 * mean['area']:.0f} %",
                    f"{mean['file']:.0f}",
                    f"{mean['segments']:.0f}",
                    f"{total['ssic'] / len(of):.0f}",
                    f"{np.mean([m['ssic']['requests'] for m in of]):.2f}",
                    f"{total['avif whole'] / len(of):.0f}",
                    f"{total['ssic'] / total['avif whole']:.2f}",
                    f"{total['avif box'] / len(of):.0f}",
                    f"{total['ssic'] / total['avif box']:.2f}",
                ]
            )
    columns = ["quality", "PSNR", "persons", "file", "segments", "transferred", "requests"]
    columns += ["AVIF whole", "ratio", "AVIF box", "ratio"]
    note = f"{len(cases)} pictures; bytes per picture; PSNR of the persons' pixels, ratio = ssic transferred / AVIF."
    tables = [note, table(columns, rows), table(["first request", "requests", "transferred"], firsts)]
    emit("Only the persons, over HTTP", {"pictures": measured}, tables, options.json)


if __name__ == "__main__":
    main()
