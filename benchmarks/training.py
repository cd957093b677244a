"""What a step of training costs: eager, in compiled pieces, and captured as one CUDA graph.

    python benchmarks/training.py                                  # on a GPU where there is one, else on the CPU
    python benchmarks/training.py --preset small --batch 2 --threads 1 --manner eager --against 61e25f9

Prints each number as soon as it is known, and ends itself after `--seconds`, whatever is being compiled then. The
pictures are noise: the time does not depend on them. Operations of a step are those that PyTorch dispatches and that
are no views, optimisers included; on a GPU each is at least one launch. `--against` measures an earlier commit's
`ssic train` in the same run, turn by turn, in a process of its own (CPU only: it goes by the processor's time, so
that other work on the machine matters little).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode

from ssic.train.launch import Launch, Manner
from ssic.train.options import TrainOptions
from ssic.train.trainer import Trainer

BEGUN = time.monotonic()

VIEWS = (
    "view",
    "reshape",
    "permute",
    "transpose",
    "expand",
    "slice",
    "split",
    "unbind",
    "select.int",
    "detach",
    "t.",
)


class Counting(TorchDispatchMode):
    """Counts operations by name."""

    def __init__(self) -> None:
        super().__init__()
        self.names: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names[str(func).removeprefix("aten.")] += 1
        return func(*args, **(kwargs or {}))

    def launches(self) -> int:
        return sum(
            n for name, n in self.names.items() if not name.startswith((*VIEWS, "_unsafe_view", "alias"))
        )


def say(*words: object) -> None:
    print(f"{time.monotonic() - BEGUN:7.1f} s ", *words, flush=True)


def end_after(seconds: float) -> None:
    """Whatever the main thread is busy with."""

    def watch() -> None:
        time.sleep(max(0.0, seconds - (time.monotonic() - BEGUN)))
        say("time is up")
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


def make_pictures(folder: Path, count: int) -> None:
    rng = np.random.default_rng(0)
    for i in range(count):
        Image.fromarray(rng.integers(0, 256, (1024, 1280, 3), dtype=np.uint8)).save(folder / f"{i}.bmp")


class Measured:
    """A trainer whose steps are timed."""

    def __init__(self, args: argparse.Namespace, folder: Path, manner: Manner) -> None:
        self.trainer = Trainer(
            TrainOptions(
                data=(folder / "pictures",),
                run=folder / manner,
                preset=args.preset,
                batch=args.batch,
                crop=args.crop,
                device=args.device,
                threads=args.threads,
                precision=args.precision,
                launch=manner,
                compile_seconds=args.seconds,
            )
        )
        self.launch: Launch = self.trainer.launch
        self.launch.report = lambda facts: say(json.dumps(facts))
        self.batch = args.batch

    def wait(self) -> None:
        if self.launch.stream is not None:
            self.launch.stream.synchronize()

    def seconds(self, steps: int) -> tuple[float, float]:
        """Wall and CPU seconds of a step, of so many."""
        self.wait()
        wall, cpu = time.monotonic(), time.process_time()
        for _ in range(steps):
            self.trainer.train_step()
        self.wait()
        return (time.monotonic() - wall) / steps, (time.process_time() - cpu) / steps

    def tell(self, manner: str, steps: int) -> None:
        wall, cpu = self.seconds(steps)
        memory = (
            f", {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB" if self.launch.stream is not None else ""
        )
        text = f"{manner:9s} {1 / wall:7.2f} steps/s {self.batch / wall:8.1f} crops/s"
        say(f"{text}, {1e3 * wall:.1f} ms ({1e3 * cpu:.0f} ms of CPU) a step{memory}")


def measure(manner: Manner, args: argparse.Namespace, folder: Path) -> None:
    measured = Measured(args, folder, manner)
    with measured.launch.running():
        measured.seconds(1)
        while not measured.launch.ready:
            measured.seconds(1)
        measured.seconds(args.steps)
        measured.tell(manner, args.steps)
        if manner == "eager":
            with Counting() as counting:
                measured.trainer.launch.step()
            most = ", ".join(f"{name} {n}" for name, n in counting.names.most_common(8))
            say(f"operations of a step: {counting.launches()} that are no views; {most}")


# What runs in a checkout of an earlier commit, whose trainer prepares its batches in threads.
EARLIER = """
import sys, time
from pathlib import Path
import torch
from ssic.train.options import TrainOptions
from ssic.train.trainer import Trainer
data, run, preset, batch, crop, steps, threads, precision = sys.argv[1:]
options = dict(preset=preset, batch=int(batch), crop=int(crop), precision=precision)
trainer = Trainer(TrainOptions((Path(data),), Path(run), threads=int(threads) or None, **options))
for line in sys.stdin:
    begun = time.process_time()
    for _ in range(int(steps)):
        trainer.train_step(*trainer._prepare(trainer.step))
    print((time.process_time() - begun) / int(steps), flush=True)
"""


def against(args: argparse.Namespace, folder: Path) -> None:
    """Turn by turn with the trainer of an earlier commit: CPU seconds of a step."""
    root, old = Path(__file__).parent.parent, folder / "old"
    old.mkdir()
    archive = subprocess.run(
        ["git", "-C", str(root), "archive", args.against, "src"], check=True, capture_output=True
    ).stdout
    subprocess.run(["tar", "-x", "-C", str(old)], input=archive, check=True)
    options = (args.preset, args.batch, args.crop, args.steps, args.threads or 0, args.precision)
    command = [sys.executable, "-c", EARLIER, folder / "pictures", folder / "earlier", *options]
    measured = Measured(args, folder, "eager")
    with subprocess.Popen(
        [str(word) for word in command],
        env={**os.environ, "PYTHONPATH": str(old / "src")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        rows = []
        for _ in range(args.turns + 1):  # the first one warms up
            process.stdin.write("go\n")
            process.stdin.flush()
            rows.append((float(process.stdout.readline()), measured.seconds(args.steps)[1]))
            say(f"CPU seconds of a step: {args.against} {rows[-1][0]:.3f}, this {rows[-1][1]:.3f}")
        process.stdin.close()
    before, now = np.median(np.array(rows[1:]), axis=0)
    text = f"{args.preset}, {args.batch} crops: {args.against} {args.batch / before:.2f} crops per CPU second"
    say(f"{text}, this {args.batch / now:.2f} ({100 * (before / now - 1):+.1f} %)")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    cuda = torch.cuda.is_available()
    parser.add_argument("--device", default="cuda" if cuda else "cpu")
    parser.add_argument("--preset", default="base")
    parser.add_argument("--batch", type=int, default=80 if cuda else 2)
    parser.add_argument("--crop", type=int, default=256)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--steps", type=int, default=10 if cuda else 2)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=300.0, help="of everything")
    parser.add_argument("--manner", nargs="+", choices=["eager", "compiled", "captured"])
    parser.add_argument("--against", metavar="COMMIT")
    args = parser.parse_args()
    end_after(args.seconds)
    name = torch.cuda.get_device_name() if args.device.startswith("cuda") else "CPU"
    say(f"torch {torch.__version__}, {name}; {args.preset}, {args.batch} crops of {args.crop}x{args.crop}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "pictures").mkdir()
        make_pictures(folder / "pictures", 24 if cuda else 3)
        if args.against:
            against(args, folder)
            return
        manners: list[Manner] = ["eager", "compiled"]
        if args.device.startswith("cuda"):
            manners.append("captured")
        if args.manner:
            manners = args.manner
        for manner in manners:
            measure(manner, args, folder)


if __name__ == "__main__":
    main()
