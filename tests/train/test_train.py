"""Training: masks, batches, and resuming exactly."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import ssic
from helpers.pictures import natural_picture
from helpers.weights import variant
from ssic.entropy.tables import Tables
from ssic.errors import InvalidInput, ModelError
from ssic.model.config import PRESETS
from ssic.model.tensors import twin_integers
from ssic.model.weights import find_weights, load_weights, pack_weights
from ssic.rangecoder import TOTAL
from ssic.train.crops import Pictures
from ssic.train.data import HELD_OUT, Unusable, find_pictures, usable
from ssic.train.export import export
from ssic.train.muon import Muon, orthogonalise
from ssic.train.options import TrainOptions
from ssic.train.step import split_parameters
from ssic.train.tables import QUALITIES, Counting
from ssic.train.trainer import Trainer

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures")
    for i in range(3):
        Image.fromarray(natural_picture(i, 96, 128)).save(path / f"{i}.png")
    return path


def options(folder: Path, run: Path, **more: object) -> TrainOptions:
    return TrainOptions(data=(folder,), run=run, batch=2, crop=64, warm_up=2, **more)  # type: ignore[arg-type]


def test_every_fiftieth_file_is_held_out(tmp_path):
    for i in range(2 * HELD_OUT):
        (tmp_path / f"{i:03}.png").touch()
    train, held_out = find_pictures([tmp_path])
    assert [f.name for f in held_out] == ["000.png", "050.png"]
    assert not set(train) & set(held_out)
    with pytest.raises(InvalidInput, match="no pictures"):
        find_pictures([tmp_path / "nothing"])


def test_what_is_no_picture_or_too_small_is_left_out_with_a_warning(folder, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    Image.fromarray(natural_picture(0, 40, 200)).save(tmp_path / "flat.png")
    files = [*sorted(folder.iterdir()), *sorted(tmp_path.iterdir())]
    with pytest.warns(Unusable) as caught:
        pictures = Pictures(usable(files, 64), 64, CPU)
    assert pictures.count == 3
    assert [str(w.message).split(":")[0] for w in caught] == ["1 of 5 pictures are left out"] * 2
    assert "broken.png" in str(caught[1].message)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("batch", 0),
        ("seed", -1),
        ("threads", -1),
        ("crop", 0),
        ("crop", 50),
        ("decay", 2.0),
        ("minutes", 0.0),
        ("matrix_rate", float("nan")),
        ("preset", "huge"),
        ("launch", "slowly"),
        ("only", "analysis"),
        ("compile_seconds", 0.0),
    ],
)
def test_options_out_of_range_are_refused(folder, tmp_path, option, value):
    with pytest.raises(InvalidInput):
        dataclasses.replace(options(folder, tmp_path, steps=1), **{option: value})


def test_steps_are_captured_on_cuda_only(folder, tmp_path):
    with pytest.raises(InvalidInput, match="CUDA"):
        Trainer(options(folder, tmp_path, steps=1, launch="captured"))


def test_a_decay_needs_a_budget(folder, tmp_path):
    with pytest.raises(InvalidInput, match="minutes or steps"):
        options(folder, tmp_path, decay=0.5)


def test_batches_follow_from_the_seed(folder):
    pictures = Pictures(usable(sorted(folder.iterdir()), 64), 64, CPU)

    def batch(seed: int) -> tuple[torch.Tensor, ...]:
        torch.manual_seed(seed)
        return pictures.batch(3)

    assert all(torch.equal(a, b) for a, b in zip(batch(1), batch(1), strict=True))
    assert not torch.equal(batch(1)[0], batch(2)[0])
    assert batch(1)[0].shape == (3, 4, 4, 4, 192)
    with pytest.raises(InvalidInput, match="multiple of 16"):
        Pictures([], 50, CPU)
    with pytest.raises(InvalidInput, match="64 pixels"):
        Pictures([], 64, CPU)


@pytest.mark.parametrize(("decay", "interrupted"), [(0.0, 2), (0.5, 4)])
def test_resuming_is_exact(folder, tmp_path, decay, interrupted):
    """Also within the decay of the learning rate. The interruption is one by signal, as Ctrl-C is."""
    straight = Trainer(options(folder, tmp_path / "a", steps=5, decay=decay))
    straight.run()

    first = Trainer(options(folder, tmp_path / "b", steps=5, decay=decay))
    step = first.train_step

    def stop_in_the_middle() -> None:
        if first.step + 1 == interrupted:
            os.kill(os.getpid(), signal.SIGINT)
        step()

    first.train_step = stop_in_the_middle
    first.run()
    assert first.step == interrupted
    resumed = Trainer(options(folder, tmp_path / "b", steps=5, decay=decay))
    assert resumed.step == interrupted
    resumed.run()
    assert resumed.step == straight.step == 5
    for kind in ("network", "average"):
        one, other = getattr(straight, kind).state_dict(), getattr(resumed, kind).state_dict()
        assert all(torch.equal(one[k], other[k]) for k in one)
    done = Trainer(options(folder, tmp_path / "b", steps=5, decay=decay))
    done.run()
    assert done.step == 5, "a budget that is spent is spent"


def test_a_run_gives_weights_that_code(folder, tmp_path):
    trainer = Trainer(options(folder, tmp_path / "a", steps=2))
    start = {k: v.clone() for k, v in trainer.network.state_dict().items()}
    trainer.run()
    name = "analysis.embed.weight"
    assert not torch.equal(trainer.network.state_dict()[name], start[name])
    export(tmp_path / "a" / "checkpoint.pt", tmp_path / "w.safetensors", {"note": "test"})
    picture = natural_picture(9, 48, 64)
    data = ssic.encode(picture, quality=90, model=tmp_path / "w.safetensors")
    decoded = ssic.decode(data, model=tmp_path / "w.safetensors")
    # An untrained codec is a KLT codec, and decent.
    assert 10 * np.log10(255**2 / np.mean((decoded - picture.astype(float)) ** 2)) > 25
    with pytest.raises(ssic.SsicError, match="not installed"):
        ssic.decode(data)


def test_fitted_tables_cost_less_than_gaussian_ones_for_the_symbols_they_were_fitted_to(folder, tmp_path):
    checkpoint = Trainer(options(folder, tmp_path, steps=1)).run()
    Image.fromarray(natural_picture(3, 512, 512)).save(tmp_path / "large.png")
    export(checkpoint, tmp_path / "gaussian.safetensors")
    export(checkpoint, tmp_path / "fitted.safetensors", pictures=[tmp_path / "large.png"])

    def tables(name: str) -> Tables:
        twin = load_weights(tmp_path / name).twin
        return Tables(twin["tables.support"], twin["tables.frequencies"])

    codec = ssic.Codec(load_weights(tmp_path / "gaussian.safetensors"))
    codec.coder = counting = Counting(codec.coder)
    for quality in QUALITIES:
        codec.encode(tmp_path / "large.png", quality=quality)
    bits = [
        sum(-(n * np.log2(t.table(i) / TOTAL)).sum() for i, n in enumerate(counting.counts))
        for t in (tables("gaussian.safetensors"), tables("fitted.safetensors"))
    ]
    assert bits[1] < 0.99 * bits[0]
    with pytest.raises(InvalidInput, match="512 pixels"):
        export(checkpoint, tmp_path / "w.safetensors", pictures=sorted(folder.iterdir()))


def test_training_goes_on_from_shipped_weights(folder, tmp_path):
    shipped = load_weights(find_weights("small"))
    trainer = Trainer(
        options(folder, tmp_path, weights=find_weights("small"), steps=shipped.card["step"] + 1)
    )
    assert (trainer.step, trainer.samples) == (shipped.card["step"], shipped.card["samples"])
    name = "synthesis.bypass.weight"
    np.testing.assert_array_equal(trainer.network.state_dict()[name].numpy(), shipped.floats[name])
    trainer.run()
    assert trainer.step == shipped.card["step"] + 1
    # What is judged and shipped is the average: it has to be of this run, whatever step the weights were at.
    reached, average = trainer.network.state_dict(), trainer.average.state_dict()
    moved = (reached[name] - torch.from_numpy(np.array(shipped.floats[name]))).norm()
    assert 0 < (reached[name] - average[name]).norm() < 0.2 * moved


def test_training_the_synthesis_only_changes_no_byte_of_a_file(folder, tmp_path):
    had = load_weights(find_weights("small"))
    how = {"weights": Path("small"), "only": "synthesis"}
    steps = had.card["step"] + 2
    checkpoint = Trainer(options(folder, tmp_path / "a", steps=steps, **how)).run()
    new = export(checkpoint, tmp_path / "w.safetensors")
    assert (new.id, new.card["tables"]) == (had.id, had.card["tables"])
    moved = {name for name in had.floats if not np.array_equal(new.floats[name], had.floats[name])}
    assert {name.partition(".")[0] for name in moved} == {"synthesis", "entropy"}
    assert {name for name in moved if name.startswith("entropy")} == {"entropy.inverse_gain.weight"}
    picture = natural_picture(9, 48, 64)
    data = ssic.encode(picture, model="small")
    assert ssic.encode(picture, model=tmp_path / "w.safetensors") == data
    assert not np.array_equal(ssic.decode(data), ssic.decode(data, model=tmp_path / "w.safetensors"))
    with pytest.raises(ModelError, match="has its tables"):
        export(checkpoint, tmp_path / "w.safetensors", pictures=sorted(folder.iterdir()))
    # It goes on as it began, or not at all.
    again = Trainer(options(folder, tmp_path / "a", steps=steps + 1, only="synthesis"))
    assert again.step == steps
    again.run()
    assert export(checkpoint, tmp_path / "w.safetensors").id == had.id
    with pytest.raises(InvalidInput, match="run of the synthesis only, not of everything: go on with --only"):
        Trainer(options(folder, tmp_path / "a", steps=steps + 1))
    with pytest.raises(InvalidInput, match="name its weights"):
        Trainer(options(folder, tmp_path / "b", steps=1, only="synthesis"))
    assert not (tmp_path / "b").exists()
    Trainer(options(folder, tmp_path / "c", steps=1)).run()
    with pytest.raises(
        InvalidInput, match="run of everything, not of the synthesis only: go on without --only"
    ):
        Trainer(options(folder, tmp_path / "c", steps=2, only="synthesis"))


def test_training_the_synthesis_only_keeps_the_configuration_to_the_letter(folder, tmp_path):
    had = load_weights(find_weights("small"))
    # An earlier file may state what is the case anyway; its model's id is a hash of that text.
    text = json.dumps(json.loads(had.text) | {"gated": False})
    source = variant(tmp_path / "told.safetensors", text=text)
    steps = had.card["step"] + 1
    how = {"weights": source, "only": "synthesis", "steps": steps}
    new = export(Trainer(options(folder, tmp_path / "a", **how)).run(), tmp_path / "w.safetensors")
    assert new.id == load_weights(source).id != had.id


def test_the_synthesis_of_a_model_without_a_context_of_hyper_latents_can_be_trained(folder, tmp_path):
    had = load_weights(find_weights("small"))
    config = dataclasses.replace(had.config, hyper_context=False)
    twin = {name: had.twin[name] for name in twin_integers(config)}
    (tmp_path / "plain.safetensors").write_bytes(pack_weights(config, had.floats, twin, had.card))
    plain, steps = load_weights(tmp_path / "plain.safetensors"), had.card["step"] + 1
    run = {"weights": tmp_path / "plain.safetensors", "only": "synthesis", "steps": steps}
    checkpoint = Trainer(options(folder, tmp_path / "a", **run)).run()
    again = Trainer(options(folder, tmp_path / "a", only="synthesis", steps=steps + 1))
    assert (again.step, again.config) == (steps, config)
    assert export(checkpoint, tmp_path / "w.safetensors").id == plain.id


@pytest.mark.parametrize("only", [None, "synthesis"])
def test_weights_of_other_trade_offs_are_refused(folder, tmp_path, only):
    other = dataclasses.replace(PRESETS["small"], lambda_range=(0.002, 0.128))
    source = variant(tmp_path / "other.safetensors", config=other, text=other.to_json())
    with pytest.raises(ModelError, match=r"lambda_range is \(0\.002, 0\.128\), not \(0\.001, 0\.256\)"):
        Trainer(options(folder, tmp_path / "run", weights=source, only=only))
    checkpoint = Trainer(options(folder, tmp_path / "b", steps=1)).run()
    state = torch.load(checkpoint, weights_only=True)
    torch.save(state | {"config": other.to_json()}, checkpoint)
    with pytest.raises(ModelError, match="lambda_range"):
        Trainer(options(folder, tmp_path / "run", weights=checkpoint, only=only))


@pytest.mark.parametrize(
    "card", [{"step": "many"}, {"step": -5}, {"step": True}, {"samples": 1.5}, {"hours": None}]
)
def test_cards_without_counts_to_go_on_from_are_refused(folder, tmp_path, card):
    source = variant(tmp_path / "odd.safetensors", card=card)
    with pytest.raises(ModelError, match=f"the card of .*odd.* says of {next(iter(card))} "):
        Trainer(options(folder, tmp_path / "run", weights=source))


def test_what_is_exported_has_to_be_there(folder, tmp_path):
    with pytest.raises(ModelError, match="No such file"):
        export(tmp_path / "no.pt", tmp_path / "w.safetensors", pictures=sorted(folder.iterdir()))


def test_weights_of_another_preset_say_which_they_are_for(folder, tmp_path):
    with pytest.raises(ModelError, match=r"does not fit preset 'small'.*It is for --preset base") as refused:
        Trainer(options(folder, tmp_path, weights=Path("base")))
    assert len(str(refused.value)) < 400


def test_steps_that_the_weights_have_had_are_no_budget(folder, tmp_path):
    had = load_weights(find_weights("small")).card["step"]
    trainer = Trainer(options(folder, tmp_path, weights=Path("small"), steps=had))
    with pytest.raises(InvalidInput, match=f"small had {had:,} steps"):
        trainer.run()
    trainer.save()
    resumed = Trainer(options(folder, tmp_path, steps=had))
    with pytest.raises(InvalidInput, match=rf"checkpoint\.pt had {had:,} steps"):
        resumed.run()


def test_checkpoints_from_before_a_field_was_added_go_on(folder, tmp_path):
    Trainer(options(folder, tmp_path, steps=1)).run()
    path = tmp_path / "checkpoint.pt"
    state = torch.load(path, weights_only=True)
    config = json.loads(state["config"])
    del config["local"]
    torch.save(state | {"config": json.dumps(config)}, path)
    assert Trainer(options(folder, tmp_path, steps=2)).step == 1
    torch.save(state | {"config": json.dumps(config | {"later": 1})}, path)
    with pytest.raises(ModelError, match="doesn't know"):
        Trainer(options(folder, tmp_path, steps=2))


def test_the_time_left_is_that_of_this_start(folder, tmp_path, monkeypatch):
    """Of 1,000 steps 500 are done when the run is resumed. With a clock on which every step takes a minute, 480 are
    left after the next 20."""
    begun = Trainer(options(folder, tmp_path, steps=1000))
    begun.step = 500
    begun.save()
    lines = []

    def stop(line: object) -> None:
        lines.append(line)
        os.kill(os.getpid(), signal.SIGINT)

    resumed = Trainer(options(folder, tmp_path, steps=1000, checkpoint_minutes=1e9), stop)
    clock = iter(range(0, 10_000_000, 60))
    monkeypatch.setattr("ssic.train.trainer.time.monotonic", lambda: next(clock))
    resumed.run()
    assert [line.step for line in lines] == [520]
    assert lines[0].minutes_left == pytest.approx(480, rel=0.1)


def test_a_checkpoint_that_does_not_fit_on_the_disk_leaves_the_one_before(folder, tmp_path):
    resource = pytest.importorskip("resource")
    trainer = Trainer(options(folder, tmp_path, steps=1))
    path = trainer.save()
    before, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            trainer.save()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir() if p.name.startswith(".")] == []


def test_what_is_no_checkpoint_is_refused(folder, tmp_path):
    for content in (b"", b"junk" * 100):
        (tmp_path / "junk.pt").write_bytes(content)
        with pytest.raises(ModelError, match=r"junk\.pt"):
            Trainer(options(folder, tmp_path / "run", weights=tmp_path / "junk.pt"))
        with pytest.raises(ModelError, match=r"junk\.pt"):
            export(tmp_path / "junk.pt", tmp_path / "w.safetensors")


def test_the_log_says_how_it_goes(folder, tmp_path):
    lines = []
    Trainer(options(folder, tmp_path, steps=20), lines.append).run()
    assert [line.step for line in lines] == [20]
    logged = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert logged[0]["samples"] == 40
    assert logged[0]["bpp"] > 0
    assert "NaN" not in (tmp_path / "log.jsonl").read_text()


def test_a_finished_run_ends_with_a_validation_of_its_weights(tmp_path):
    for i in range(HELD_OUT):
        picture = natural_picture(i, 512, 512) if i == 0 else natural_picture(i, 64, 64)
        Image.fromarray(picture).save(tmp_path / f"{i:02}.png")
    trainer = Trainer(options(tmp_path, tmp_path / "run", steps=1))
    trainer.run()
    last = json.loads((tmp_path / "run" / "log.jsonl").read_text().splitlines()[-1])
    assert last == {"step": 1, "validation": trainer.validate()}


def test_every_parameter_has_one_optimiser(folder, tmp_path):
    network = Trainer(options(folder, tmp_path, steps=1)).network
    parts = split_parameters(network)
    ids = [id(p) for part in parts for p in part]
    assert len(ids) == len(set(ids)) == len(list(network.parameters()))
    assert all(p.ndim == 2 for p in parts[0])
    assert len(parts[1]) == 2


def test_muon_makes_updates_orthogonal():
    """Singular values end near 1, in directions that are the gradient's own; all shapes, also several at once."""
    generator = torch.Generator().manual_seed(3)
    for shape in ((1, 24, 40), (3, 16, 40), (2, 40, 16)):
        x = torch.randn(shape, generator=generator)
        done = orthogonalise(x, torch.float32)
        assert done.shape == x.shape
        values = torch.linalg.svdvals(done)
        assert values.min() > 0.3
        assert values.max() < 1.3
        u, _, v = torch.linalg.svd(x, full_matrices=False)
        turned = u.mT @ done @ v.mT
        assert (turned - torch.diag_embed(turned.diagonal(dim1=1, dim2=2))).abs().max() < 1e-3


def test_muon_steps_as_its_definition_says():
    generator = torch.Generator().manual_seed(4)
    matrices = [torch.nn.Parameter(torch.randn(6, 10, generator=generator)) for _ in range(2)]
    expected = [p.detach().clone() for p in matrices]
    means = [torch.zeros(6, 10) for _ in matrices]
    optimiser = Muon(matrices, lr=0.1, weight_decay=0.02, dtype=torch.float32)
    for _ in range(3):
        for i, p in enumerate(matrices):
            p.grad = torch.randn(6, 10, generator=generator)
            means[i] = 0.95 * means[i] + 0.05 * p.grad
            update = orthogonalise((0.05 * p.grad + 0.95 * means[i])[None], torch.float32)[0]
            expected[i] = expected[i] * (1 - 0.1 * 0.02) - 0.1 * 0.2 * 10**0.5 * update
        optimiser.step()
    for p, value in zip(matrices, expected, strict=True):
        assert torch.allclose(p, value, atol=1e-5)


def test_filling_matrices_up_to_one_batch_changes_nothing():
    generator = torch.Generator().manual_seed(5)
    shapes = [(64, 64), (96, 64), (64, 96), (200, 130), (130, 200), (33, 17), (17, 300)]
    one = [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]
    other = [torch.nn.Parameter(p.detach().clone()) for p in one]
    optimisers = [Muon(one, 0.1, dtype=torch.float32), Muon(other, 0.1, dtype=torch.float32, fill=True)]
    for _ in range(3):
        for p, q in zip(one, other, strict=True):
            p.grad = torch.randn(p.shape, generator=generator)
            q.grad = p.grad.clone()
        for optimiser in optimisers:
            optimiser.step()
    for p, q in zip(one, other, strict=True):
        assert torch.allclose(p, q, atol=1e-4)


def test_two_processes_train_one_model(folder, tmp_path):
    """Started by torchrun: each rank on crops of its own, gradients averaged, one checkpoint, resumed by both."""
    environment = {**os.environ, "PYTHONPATH": str(Path(ssic.__file__).parent.parent), "OMP_NUM_THREADS": "1"}
    run, weights = tmp_path / "run", find_weights("small")
    begun = load_weights(weights).card["step"]
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node=2",
        "--standalone",
        "-m",
        "--",
    ]
    command += f"ssic train --data {folder} --run {run} --batch 2 --crop 64 --steps".split()
    first = subprocess.run(
        [*command, f"{begun + 1}", "--weights", str(weights)],
        env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert first.returncode == 0, first.stderr
    state = torch.load(run / "checkpoint.pt", weights_only=True)
    # The same step by hand.
    alone = Trainer(dataclasses.replace(options(folder, tmp_path / "alone"), warm_up=50, weights=weights))
    assert (state["step"], state["samples"]) == (begun + 1, alone.samples + 2 * 2)
    start = {k: v.clone() for k, v in alone.network.state_dict().items()}
    alone._set_rate(0.0)
    for rank in (0, 1):
        alone.ranks.rank = rank
        torch.manual_seed(alone._seed())
        (alone.launch.step.loss().loss / 2).backward()
    torch.nn.utils.clip_grad_norm_(alone.network.parameters(), 2.0)
    for rate, full in zip((8e-4, 1e-3, 1e-4), alone.updates._rates, strict=True):
        full[0].fill_(rate / 50)
    for optimiser in alone.updates.optimisers:
        optimiser.step()
    for name, value in alone.network.state_dict().items():
        moved, expected = state["network"][name] - start[name], value - start[name]
        # Adam's first step is the sign of the gradient: where that is all but zero, the order of sums decides.
        assert torch.isclose(moved, expected, rtol=0.1, atol=1e-6).float().mean() > 0.98, name
    again = subprocess.run([*command, f"{begun + 2}"], env=environment, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    resumed = torch.load(run / "checkpoint.pt", weights_only=True)
    assert (resumed["step"], resumed["samples"]) == (begun + 2, alone.samples + 2 * 2 * 2)
