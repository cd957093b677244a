"""Time and memory of encoding and decoding, on the CPU.

Measured is what `Codec.encode` and `SsicFile.decode` take, in process, weights loaded, on two threads
(--threads): from an array of pixels to the bytes of a file, and back. Reading and writing picture files is not in
it. Each time is the median of several runs after one that is thrown away. The mask has nine groups: a disc of a tenth
of the picture in the middle and eight sectors around it; "decode one group of nine" decodes the disc alone from
the same file.

Stages are timed in the same runs by wrapping the methods that do the work: the float networks; the integer twin;
the range coder (constriction, with the lookups for its symbols); "coding in all" is the time that passes in the last
two and what ties them together: less than their sum, as threads share the twin, whose seconds are those of all of them.
What is left of the whole is pixels, plan, mask and head.

Peak memory is that of a process of its own that loads the weights and encodes or decodes once.

Beside ours stand AVIF (Pillow's libavif), and, where PyTorch is installed, the networks of the paper that ssic takes
its idea from (`paper.py`): the same picture, mask and number of threads, in float32 and without range coding, so that
ratios mean the same on every machine.

The picture is the demo photograph unless --image is given, scaled and cropped to 768x512. For 12 megapixels
(4000x3000) it is tiled with its mirror images, and there is one run of each.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

SMALL, LARGE = (768, 512), (4000, 3000)
WORK = ("times", "paper", "load", "encode", "decode")


# -- in processes of their own, so that thread counts are set before NumPy and torch are there --------------------


def picture(options: argparse.Namespace) -> tuple[Any, Any]:
    """Pixels and mask."""
    from _pictures import fitted, nine_groups, photograph, tiled

    source = options.image or photograph()
    size = LARGE if options.large else SMALL
    return (tiled if options.large else fitted)(source, *size), nine_groups(*size)


def peak() -> float:
    """Peak memory of this process in MB."""
    try:  # unlike RU_MAXRSS, without what the parent had when it forked
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
            2**20 if sys.platform == "darwin" else 1024
        )


def load(options: argparse.Namespace) -> Any:
    """The codec, on as many threads as asked for."""
    import ssic

    codec = ssic.Codec.load(options.model, engine=options.engine)
    codec.engine.threads = options.threads
    return codec


def once(options: argparse.Namespace) -> dict[str, Any]:
    """Load the weights; encode or decode the file once if asked; -> seconds and peak memory."""
    codec = load(options)
    start = time.perf_counter()
    if options.work == "encode":
        pixels, mask = picture(options)
        start = time.perf_counter()
        options.file.write_bytes(codec.encode(pixels, mask, quality=options.quality).data)
    elif options.work == "decode":
        import ssic

        ssic.decode(options.file.read_bytes(), model=options.model, engine=options.engine)
    seconds = time.perf_counter() - start
    size = options.file.stat().st_size if options.file.exists() else 0
    return {"seconds": seconds, "peak_mb": peak(), "file_bytes": size}


def stopwatch(codec: Any) -> dict[str, float]:
    """Wrap the methods that do the work; -> seconds by stage, which add up as they are called."""
    seconds: dict[str, float] = defaultdict(float)
    lock = threading.Lock()  # threads share the twin

    def wrap(owner: Any, name: str, stage: str) -> None:
        inner: Callable[..., Any] = getattr(owner, name)

        def timed(*args: Any, **more: Any) -> Any:
            start = time.perf_counter()
            try:
                return inner(*args, **more)
            finally:
                passed = time.perf_counter() - start
                with lock:
                    seconds[stage] += passed

        setattr(owner, name, timed)

    for name in ("analyse", "synthesise"):
        wrap(codec.engine, name, "networks")
    for name in ("hyper_prior", "pair_features", "features", "new_values", "predict", "normalise"):
        wrap(codec.coder.twin, name, "twin")
    for name in ("_write", "_read"):
        wrap(codec.coder, name, "coder")
    for name in ("encode", "decode"):
        wrap(codec.coder, name, "entropy")
    return seconds


def clocked(run: Callable[[], object]) -> dict[str, float]:
    """Seconds of the clock and of the processor; the latter hardly depend on what else the machine does."""
    start = time.perf_counter(), time.process_time()
    run()
    return {"seconds": time.perf_counter() - start[0], "processor": time.process_time() - start[1]}


def yardstick(pixels: Any, runs: int, threads: int) -> dict[str, Any]:
    """Median seconds that AVIF (Pillow's libavif, speed 6, 4:2:0) takes for the same pixels, so that ratios mean the
    same on every machine."""
    import io

    from PIL import Image

    image, file = Image.fromarray(pixels), io.BytesIO()

    def encode() -> None:
        file.seek(0)
        file.truncate()
        image.save(file, "AVIF", quality=60, speed=6, subsampling="4:2:0", max_threads=threads)

    def decode() -> None:
        Image.open(file).load()

    found: dict[str, Any] = {}
    for work in (encode, decode):
        taken = [clocked(work) for _ in range(runs + 1)][1:]
        found[work.__name__] = {k: statistics.median(t[k] for t in taken) for k in taken[0]}
    return found | {"bytes": len(file.getvalue())}


def times(options: argparse.Namespace) -> dict[str, Any]:
    """Median seconds of each kind of work, with their stages."""
    import ssic

    codec = load(options)
    pixels, mask = picture(options)
    data = codec.encode(pixels, mask, quality=options.quality).data
    opened = ssic.SsicFile(data, model=options.model)
    seconds = stopwatch(codec)  # the codec is cached: decoding uses the same one
    work: dict[str, Callable[[], object]] = {
        "encode": lambda: codec.encode(pixels, mask, quality=options.quality),
        "decode": lambda: ssic.SsicFile(data, model=options.model).decode(engine=options.engine),
        "decode one group of nine": lambda: ssic.SsicFile(data, model=options.model).decode(
            0, engine=options.engine
        ),
    }
    result = {}
    for name, run in work.items():
        runs = []
        for _ in range(options.runs + 1):
            seconds.clear()
            runs.append({**clocked(run), **seconds})
        stages = {k: statistics.median(r.get(k, 0.0) for r in runs[1:]) for k in runs[-1]}
        result[name] = {**stages, "runs": [r["seconds"] for r in runs[1:]]}
    group = opened.groups[0]
    return {
        "work": result,
        "file_bytes": len(data),
        "group_bytes": group.length,
        "group_blocks": group.blocks,
        "blocks": int(mask.ids.size),
        "avif": yardstick(pixels, options.runs, options.threads),
    }


def paper(options: argparse.Namespace) -> dict[str, Any] | None:
    """Seconds and kMAC per pixel of the paper's networks, and kMAC of ours; None without PyTorch, or without runs."""
    if find_spec("torch") is None or options.paper_runs == 0:
        return None
    import numpy as np

    from _cost import complexity
    from paper import measure

    pixels, mask = picture(options)
    ours = complexity(load(options).config)
    return measure(np.asarray(pixels), mask.ids, options.paper_runs, options.threads) | {"ours_kmac": ours}


# -- the report ---------------------------------------------------------------------------------------------------


def child(options: argparse.Namespace, *more: str) -> Any:
    """Run one of the above in a process of its own."""
    threads = str(options.threads)
    limits = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), threads)
    command = [sys.executable, __file__, "--threads", threads]
    command += ["--runs", str(options.runs), "--quality", str(options.quality)]
    command += ["--paper-runs", str(options.paper_runs)]
    command += ["--engine", options.engine, "--model", options.model]
    if options.image:
        command += ["--image", str(options.image)]
    done = subprocess.run(
        [*command, *more], env=os.environ | limits, stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(done.stdout)


def ratio(ours: dict[str, float], theirs: dict[str, float]) -> str:
    """By the clock, and in brackets by the processor."""
    clock, processor = (ours[k] / theirs[k] for k in ("seconds", "processor"))
    return f"{clock:.3g} ({processor:.3g})"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--image", type=Path, help="picture (default: the demo photograph)")
    parser.add_argument("--quality", type=int, default=60)
    parser.add_argument("--runs", type=int, default=7, help="timed runs of each kind")
    parser.add_argument(
        "--paper-runs", type=int, default=3, help="of the paper's networks; 0 leaves them out"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--engine", default="auto", help="auto, onnx, torch:cpu:float32...")
    parser.add_argument("--model", default="base", help="installed model, or a weights file")
    parser.add_argument("--small-only", action="store_true", help="leave out the 12 megapixels")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--work", choices=WORK, help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--large", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        print(json.dumps({"times": times, "paper": paper}.get(options.work, once)(options)))
        return

    from _report import emit, table

    timed = child(options, "--work", "times")
    theirs = child(options, "--work", "paper")
    single: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for size in ("small",) if options.small_only else ("small", "large"):
            for work in ("load", "encode", "decode") if size == "small" else ("encode", "decode"):
                more = ["--large"] if size == "large" else []
                name = (
                    f"{work} {'4000x3000' if more else '768x512'}" if work != "load" else "load the weights"
                )
                single[name] = child(options, "--work", work, "--file", f"{folder}/{size}.ssic", *more)

    encode, whole = (timed["work"][name] for name in ("encode", "decode"))
    by_stage = table(
        [
            *("768x512", "seconds", "of the processor", "networks", "integer twin", "range coder"),
            *("coding in all", "against decode", "of the processor"),
        ],
        [
            [
                name,
                *(f"{t[k]:.3f}" for k in ("seconds", "processor", "networks", "twin", "coder", "entropy")),
                *(f"{t[k] / whole[k]:.1%}" for k in ("seconds", "processor")),
            ]
            for name, t in timed["work"].items()
        ],
    )
    avif = timed["avif"]
    ratios = (
        f"AVIF (Pillow, speed 6, quality 60, {avif['bytes']} bytes) takes {avif['encode']['seconds']:.3f} s to encode "
        f"and {avif['decode']['seconds']:.4f} s to decode the same pixels. ssic takes {ratio(encode, avif['encode'])} "
        f"and {ratio(whole, avif['decode'])} times as long."
    )
    papers = "The paper's networks were not measured: it takes PyTorch, and --paper-runs above 0."
    if theirs is not None:
        papers = (
            "The paper's networks (PyTorch, float32, random weights, no range coding) take "
            f"{theirs['encode']['seconds']:.2f} s to encode and {theirs['decode']['seconds']:.2f} s to decode the same "
            f"pixels. ssic takes {ratio(encode, theirs['encode'])} and {ratio(whole, theirs['decode'])} times as "
            "long. Thousands of multiplications per pixel, in analysis and synthesis: "
            f"{' and '.join(f'{k:.0f}' for k in theirs['transforms_kmac'])}, ours "
            f"{' and '.join(f'{k:.0f}' for k in theirs['ours_kmac'])}."
        )
    area, share = timed["group_blocks"] / timed["blocks"], timed["group_bytes"] / timed["file_bytes"]
    selective = (
        f"The one group has {area:.1%} of the blocks and {share:.1%} of the {timed['file_bytes']} bytes."
    )
    memory = table(
        ["one run in a fresh process", "seconds", "peak memory", "file"],
        [
            [
                name,
                f"{r['seconds']:.2f}" if r["file_bytes"] else "",
                f"{r['peak_mb']:.0f} MB",
                f"{r['file_bytes']} B" if r["file_bytes"] else "",
            ]
            for name, r in single.items()
        ],
    )
    settings = {k: getattr(options, k) for k in ("engine", "model", "quality", "threads", "runs")}
    head = f"engine {options.engine}, model {options.model}, quality {options.quality}, "
    head += f"{options.threads} thread(s), medians of {options.runs} runs"
    emit(
        "Speed and memory",
        {**settings, **timed, "paper": theirs, "single": single},
        [head, by_stage, ratios, papers, selective, memory],
        options.json,
        options.model,
    )


if __name__ == "__main__":
    main()
