"""Fitting how hyper-latents are predicted from those of the cells around."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import ssic
from helpers.pictures import natural_picture
from helpers.random_weights import CONFIG, random_weights
from ssic.errors import InvalidInput
from ssic.model.config import HYPER_CONTEXTS
from ssic.model.weights import unpack_weights
from ssic.nets.network import Network
from ssic.train.export import export


def checkpoint(path: Path, *, context: bool) -> Path:
    """A network by chance: what it makes of natural pictures varies as slowly as they do."""
    network = Network.of(unpack_weights(random_weights(2)))
    network.entropy.analyse3.weight *= 60  # or all hyper-latents would round to zero
    config = replace(network.config, hyper_context=context)
    counts = {"step": 1, "samples": 1, "seconds": 1.0}
    torch.save({"config": config.to_json(), "network": {}, "average": network.state_dict()} | counts, path)
    return path


def test_what_is_fitted_saves_bytes_of_hyper_latents(tmp_path: Path) -> None:
    pictures = [natural_picture(n, 512, 512) for n in range(3)]
    files = []
    for n, picture in enumerate(pictures):
        files.append(tmp_path / f"{n}.png")
        Image.fromarray(picture).save(files[-1])
    models = {}
    for context in (False, True):
        source = checkpoint(tmp_path / f"{context}.pt", context=context)
        models[context] = export(source, tmp_path / f"{context}.safetensors", pictures=files)
    gain = models[True].twin["z_gain"]
    assert gain.shape == (HYPER_CONTEXTS, CONFIG.hyper_channels)
    assert not gain[0].any()  # nothing to predict from
    assert gain[1:].any()
    sizes = {}
    for context in models:
        codec = ssic.Codec.load(tmp_path / f"{context}.safetensors")
        sizes[context] = sum(sum(codec.encode(picture).hyper_bytes.values()) for picture in pictures)
    assert sizes[True] < sizes[False]


def test_pictures_too_small_to_fit_to_are_refused(tmp_path: Path) -> None:
    Image.fromarray(natural_picture(0, 96, 96)).save(tmp_path / "small.png")
    source = checkpoint(tmp_path / "c.pt", context=True)
    with pytest.raises(InvalidInput, match="512 pixels"), pytest.warns():
        export(source, tmp_path / "w.safetensors", pictures=[tmp_path / "small.png"])


def test_a_weights_file_gets_a_context(tmp_path: Path) -> None:
    files = []
    for n in range(2):
        files.append(tmp_path / f"{n}.png")
        Image.fromarray(natural_picture(n, 512, 512)).save(files[-1])
    Image.fromarray(natural_picture(0, 96, 96)).save(tmp_path / "small.png")
    source = checkpoint(tmp_path / "c.pt", context=False)
    old = export(source, tmp_path / "old.safetensors", {"note": "kept"}, step_worth=20)
    with pytest.warns(UserWarning, match="1 of 3 pictures are left out"):
        new = export(
            tmp_path / "old.safetensors",
            tmp_path / "new.safetensors",
            pictures=[*files, tmp_path / "small.png"],
            hyper_context=True,
        )
    assert new.config == replace(old.config, hyper_context=True)
    assert new.id != old.id
    assert (new.floats_id, new.step_worth) == (old.floats_id, 20)
    assert new.card == {**old.card, "tables": "fitted to 2 pictures"}  # of three, one is too small
    fitted = {"z_gain", "z_seen", "precision", "tables.support", "tables.frequencies"}
    assert new.twin.keys() - old.twin.keys() == {"z_gain", "z_seen", "precision"}
    for name in old.twin.keys() - fitted:
        np.testing.assert_array_equal(new.twin[name], old.twin[name])
    assert new.twin["z_gain"].any()
    assert not np.array_equal(new.twin["tables.frequencies"], old.twin["tables.frequencies"])

    # What is fitted is fitted to the symbols that the encoder will choose.
    old_path, other = tmp_path / "old.safetensors", tmp_path / "other.safetensors"
    how = {"pictures": files, "hyper_context": True, "step_worth": 0.5}
    assert export(old_path, other, **how).id != new.id  # type: ignore[arg-type]

    again = tmp_path / "again.safetensors"
    with pytest.raises(InvalidInput, match="has a context of hyper-latents already"):
        export(tmp_path / "new.safetensors", again, pictures=files, hyper_context=True)
    with pytest.raises(InvalidInput, match="is fitted to pictures"):
        export(tmp_path / "old.safetensors", again, hyper_context=True)
    with pytest.raises(InvalidInput, match="is a checkpoint"):
        export(source, again, pictures=files, hyper_context=True)
    assert not again.exists()
