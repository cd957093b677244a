"""`ssic train` and `ssic export-weights`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ssic.cli.files import check_local, check_output, is_stdout
from ssic.cli.terminal import progress, say, warn
from ssic.errors import InvalidInput
from ssic.model.weights import LARGEST_STEP_WORTH
from ssic.storage.atomic import replacing
from ssic.train.data import find_pictures
from ssic.train.export import export
from ssic.train.options import TrainOptions
from ssic.train.trainer import Progress, Trainer


# Options are None by default, and then left to `TrainOptions`, so that its defaults are the only ones.
def train(
    data: Annotated[
        list[Path],
        typer.Option(metavar="DIR", help="Folder of pictures, searched with its subfolders; repeatable."),
    ],
    run: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Folder for checkpoint and log; a checkpoint in it is resumed."),
    ],
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Model configuration: small, base, or an experiment of docs/training.md."
        ),
    ] = None,
    minutes: Annotated[float | None, typer.Option(metavar="N", help="Stop after N minutes.")] = None,
    steps: Annotated[
        int | None,
        typer.Option(metavar="N", help="Stop at step N, counted from the very first, also of --weights."),
    ] = None,
    decay: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE", help="Last share of the time, in which the learning rate falls to zero."
        ),
    ] = None,
    batch: Annotated[int | None, typer.Option(metavar="N", help="Crops per step.")] = None,
    crop: Annotated[
        int | None, typer.Option(metavar="N", help="Side of a crop in pixels, a multiple of 16.")
    ] = None,
    matrix_rate: Annotated[
        float | None, typer.Option(metavar="X", help="Learning rate of Muon, for the hidden matrices.")
    ] = None,
    other_rate: Annotated[
        float | None,
        typer.Option(
            metavar="X", help="Learning rate of AdamW, for all else; a tenth of it for the linear bypass."
        ),
    ] = None,
    warm_up: Annotated[
        int | None, typer.Option(metavar="N", help="Steps in which both rates rise from zero at the start.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(metavar="NAME", help="Where to train, as PyTorch names it: cpu, cuda.")
    ] = None,
    threads: Annotated[int | None, typer.Option(metavar="N", help="CPU threads.")] = None,
    seed: Annotated[int | None, typer.Option(metavar="N", help="Seed of everything random.")] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            metavar="NAME|FILE",
            help="Start from an installed model, a weights file, or the averages of another run's checkpoint.",
        ),
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(
            metavar="synthesis",
            help="Train the synthesis of --weights only, on what the encoder really sends: the model's id stays, and "
            "with effort 1 so do the bytes of files of given qualities.",
        ),
    ] = None,
    launch: Annotated[
        str | None,
        typer.Option(
            metavar="auto|eager|compiled|captured",
            help="How steps are run: as written, in compiled pieces, or those as one CUDA graph; auto is the last "
            "on CUDA, the first elsewhere.",
        ),
    ] = None,
    compile_seconds: Annotated[
        float | None,
        typer.Option(metavar="N", help="Time for compiling; pieces that aren't done by then are left out."),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            metavar="auto|float32|bfloat16",
            help="Precision of matrix products; auto is bfloat16 where the processor multiplies it natively.",
        ),
    ] = None,
) -> None:
    """Train a model until the time or the steps are used up, or until Ctrl-C; both leave a checkpoint."""
    values: dict[str, Any] = {
        "preset": preset,
        "minutes": minutes,
        "steps": steps,
        "decay": decay,
        "batch": batch,
        "crop": crop,
        "matrix_rate": matrix_rate,
        "other_rate": other_rate,
        "warm_up": warm_up,
        "device": device,
        "threads": threads,
        "seed": seed,
        "weights": weights,
        "only": only,
        "launch": launch,
        "compile_seconds": compile_seconds,
        "precision": precision,
    }
    with progress("reading the pictures", log=True) as show:
        options = TrainOptions(
            data=tuple(data), run=run, **{key: value for key, value in values.items() if value is not None}
        )
        trainer = Trainer(options, report=lambda reached: show(_line(reached)))
        if not trainer.held_out:
            warn("fewer than 50 pictures: none is held out, so the log will have no validation")
        show(f"training from step {trainer.step:,}")
        checkpoint = trainer.run()
    say(f"{checkpoint}: step {trainer.step:,}")


def _line(reached: Progress) -> str:
    left = "" if reached.minutes_left is None else f", {reached.minutes_left:,.1f} minutes left"
    return (
        f"step {reached.step:,}: {reached.bpp:.3f} bpp (estimated), {reached.psnr:.2f} dB, "
        f"{reached.samples_per_second:.1f} samples/s{left}"
    )


def export_weights(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="CHECKPOINT|FILE", help="Of ssic train; or a weights file, to write it with graphs."
        ),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="Weights file to write (.safetensors).")
    ],
    data: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR", help="Folder of training pictures to fit the coding tables to; repeatable."
        ),
    ] = None,
    pictures: Annotated[
        int, typer.Option(metavar="N", help="How many of these pictures to use.", min=1)
    ] = 48,
    step_worth: Annotated[
        float | None,
        typer.Option(
            metavar="BITS",
            help="What an error of one step, squared, is worth to the encoder of this model; by default what the "
            "weights file has, or 34.6.",
            min=0.1,
            max=LARGEST_STEP_WORTH,
        ),
    ] = None,
    hyper_context: Annotated[
        bool,
        typer.Option(
            "--hyper-context",
            help="Have the model of a weights file predict hyper-latents from those around, fitted to the pictures of "
            "--data; makes another model, with smaller files.",
        ),
    ] = False,
) -> None:
    """Write the weights file of a checkpoint, graphs included, which encode and decode take as --model."""
    if is_stdout(output):
        raise InvalidInput("weights are not written to stdout: give them a file")
    check_local([source])
    check_output(output, [source], as_json=False)
    with progress("freezing the entropy model"):
        files = find_pictures(data)[0] if data else []
        check_output(output, files, as_json=False)
        if len(files) > pictures:
            files = [files[i * len(files) // pictures] for i in range(pictures)]
        with replacing(output) as temporary:
            weights = export(
                source, temporary, pictures=files, step_worth=step_worth, hyper_context=hyper_context
            )
    say(f"{output}: floats {weights.floats_id.hex()}, model {weights.id.hex()}")
