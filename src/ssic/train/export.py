"""A checkpoint, or an existing weights file, to a weights file with graphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssic.engine.base import find_engine
from ssic.errors import InvalidInput, ModelError
from ssic.model.config import STEP_WORTH, ModelConfig
from ssic.model.weights import (
    Weights,
    floats_id,
    load_weights,
    model_id,
    pack_weights,
    stored_floats,
    unpack_weights,
)
from ssic.nets.network import Network
from ssic.plan import make_plan
from ssic.storage.atomic import write_whole
from ssic.train.checkpoint import is_checkpoint, read_checkpoint, twin_of_state
from ssic.train.freeze import freeze
from ssic.train.graphs import export_graphs
from ssic.train.hyper_context import fit_hyper_context
from ssic.train.tables import centres, fit_tables


def load_checkpoint(path: Path) -> tuple[Network, dict[str, Any]]:
    """The averaged network of a checkpoint, and what else the checkpoint holds.

    Raises:
        ModelError: not a checkpoint.
    """
    state = read_checkpoint(path)
    try:
        network = Network(ModelConfig.from_json(state["config"]))
        network.load_state_dict(state["average"])
    except (KeyError, TypeError, ValueError, RuntimeError) as e:
        raise ModelError(f"{path} is no checkpoint of this version of ssic train: {e!r}") from e
    return network.eval(), state


def with_graphs(data: bytes) -> bytes:
    """The bytes of a weights file without graphs -> those of the same with graphs, which were tried out.

    Raises:
        EngineError: the package onnx or onnxruntime is missing.
        ModelError: the graphs do not compute what the networks do.
    """
    bare = unpack_weights(data)
    packed = pack_weights(
        bare.config,
        bare.floats,
        bare.twin,
        bare.card,
        export_graphs(bare),
        text=bare.text,
        step_worth=bare.step_worth,
    )
    _try_out(unpack_weights(packed))
    return packed


def _try_out(weights: Weights) -> None:
    """Hold the graphs against the networks that they were made from."""
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 3, (9, 13)).astype(np.uint8)
    plan, quality = make_plan(ids), {0: 10, 1: 50, 2: 90}
    blocks = rng.integers(0, 256, (len(plan), 4, 192), dtype=np.uint8)
    one, two = find_engine("onnx", weights), find_engine("torch:cpu:float32", weights)
    (y, z), (y2, z2) = one.analyse(blocks, plan, quality), two.analyse(blocks, plan, quality)
    pixels, pixels2 = (engine.synthesise(np.rint(y2), plan, quality) for engine in (one, two))
    apart = np.abs(pixels.astype(np.int64) - pixels2)
    for what, differ in (
        ("latents", not np.allclose(y, y2, rtol=1e-3, atol=1e-3)),
        ("hyper-latents", not np.allclose(z, z2, rtol=1e-3, atol=1e-3)),
        ("pixels", apart.max() > 1 or apart.mean() > 0.01),
    ):
        if differ:
            raise ModelError(f"the graphs give other {what} than the networks that they were made from")


def export(
    source: Path,
    target: Path,
    card: Mapping[str, Any] | None = None,
    pictures: Sequence[Path] = (),
    step_worth: float | None = None,
    hyper_context: bool = False,
) -> Weights:
    """Write a weights file with graphs.

    Args:
        source: a checkpoint of `ssic train`; or a weights file, whose model stays the same, to the id.
        target: the file to write.
        card: facts for the model card; of a checkpoint, steps, samples and hours are added.
        pictures: training pictures to fit the tables of the scale classes to, and where the model has a context of
            hyper-latents that, too; without any, tables are Gaussian and the context is without effect, or they are
            those of the weights whose synthesis was trained. Only of a checkpoint: other tables make another model.
        step_worth: bits that an error of one step, squared, is worth to the encoder; by default what the source
            has, or `STEP_WORTH`.
        hyper_context: give a weights file without it `ModelConfig.hyper_context`, fitted to the pictures, and tables
            fitted to the same. That is another model, with another id.

    Returns:
        what was written.

    Raises:
        InvalidInput: pictures that are too small to fit to, or none for `hyper_context`.
        ModelError: neither a checkpoint nor a weights file, or weights that have grown out of their fixed-point
            formats.
        EngineError: the package onnx is missing.
    """
    if is_checkpoint(source):
        weights, settled = _from_checkpoint(source)
    else:
        weights, settled = load_weights(source, earlier=True), True
    if hyper_context:
        weights, settled = _with_context(source, weights, pictures), False
    if step_worth is not None:
        weights = replace(weights, step_worth=step_worth)
    if pictures:
        if settled:
            raise ModelError(
                f"{source} has its tables: fitting other ones to pictures would make it another model"
            )
        weights = _fitted(weights, pictures)
    data = pack_weights(
        weights.config,
        stored_floats(weights.floats),
        weights.twin,
        {**weights.card, **(card or {})},
        text=weights.text,
        step_worth=weights.step_worth,
    )
    data = with_graphs(data)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_whole(target, data)
    return unpack_weights(data, target)


def _from_checkpoint(checkpoint: Path) -> tuple[Weights, bool]:
    """The model of a checkpoint, and whether its tables are settled: those of what training of the synthesis alone
    started from are."""
    network, state = load_checkpoint(checkpoint)
    config, kept = network.config, twin_of_state(state)
    floats: dict[str, NDArray[Any]] = {k: v.float().numpy() for k, v in network.state_dict().items()}
    facts: dict[str, Any] = {k: state[k] for k in ("step", "samples")} | {
        "hours": round(state["seconds"] / 3600, 2)
    }
    if kept is None:
        weights = _of_twin(config, config.to_json(), floats, freeze(config, floats), facts)
    else:
        weights = _of_twin(config, kept.text, floats, kept.tensors, facts | kept.card)
    return replace(weights, step_worth=state.get("step_worth", STEP_WORTH)), kept is not None


def _with_context(source: Path, old: Weights, pictures: Sequence[Path]) -> Weights:
    """Weights with `ModelConfig.hyper_context`, not yet fitted, of those of a weights file without it."""
    if is_checkpoint(source):
        raise InvalidInput(f"{source} is a checkpoint: its preset says whether hyper-latents have a context")
    if old.config.hyper_context:
        raise InvalidInput(f"{source} has a context of hyper-latents already")
    if not pictures:
        raise InvalidInput("a context of hyper-latents is fitted to pictures: give the folder of some")
    config = replace(old.config, hyper_context=True)
    # Networks in a file are rounded, and what they were frozen to may differ from what these would be.
    twin = {**freeze(config, old.floats), **old.twin}
    return replace(_of_twin(config, config.to_json(), old.floats, twin, old.card), step_worth=old.step_worth)


def _fitted(weights: Weights, pictures: Sequence[Path]) -> Weights:
    """The same with a context of hyper-latents, if the configuration has one, and tables, both fitted to pictures: to
    symbols as its `step_worth` has them chosen."""
    config, floats, crops = weights.config, weights.floats, list(centres(pictures))
    if config.hyper_context:
        frozen = freeze(config, floats, context=fit_hyper_context(weights, crops))
        weights = _with(weights, {name: frozen[name] for name in ("z_gain", "z_seen")})
    frozen = freeze(config, floats, tables=fit_tables(weights, crops))
    weights = _with(weights, {name: frozen[name] for name in frozen if name.startswith("tables.")})
    return replace(weights, card={**weights.card, "tables": f"fitted to {len(crops)} pictures"})


def _of_twin(
    config: ModelConfig,
    text: str,
    floats: Mapping[str, NDArray[Any]],
    twin: Mapping[str, NDArray[Any]],
    card: Mapping[str, Any],
) -> Weights:
    return Weights(config, model_id(text, twin), card, floats, twin, floats_id(floats), text=text)


def _with(weights: Weights, tensors: Mapping[str, NDArray[Any]]) -> Weights:
    """The model with some integers of its twin replaced."""
    twin = {**weights.twin, **tensors}
    return replace(weights, twin=twin, id=model_id(weights.text, twin))
