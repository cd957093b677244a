"""A checkpoint, or an existing weights file, to a weights file with graphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssic.engine.base import find_engine
from ssic.errors import ModelError
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
from ssic.train.tables import fit_tables


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
) -> Weights:
    """Write a weights file with graphs.

    Args:
        source: a checkpoint of `ssic train`; or a weights file, whose model stays the same, to the id.
        target: the file to write.
        card: facts for the model card; of a checkpoint, steps, samples and hours are added.
        pictures: training pictures to fit the tables of the scale classes to; without any, tables are Gaussian, or
            those of the weights whose synthesis was trained. Only of a checkpoint: other tables make another model.
        step_worth: bits that an error of one step, squared, is worth to the encoder; by default what the source
            has, or `STEP_WORTH`.

    Returns:
        what was written.

    Raises:
        ModelError: neither a checkpoint nor a weights file, or weights that have grown out of their fixed-point
            formats.
        EngineError: the package onnx is missing.
    """
    if is_checkpoint(source):
        data = _from_checkpoint(source, card or {}, pictures, step_worth)
    else:
        old = load_weights(source, earlier=True)
        if pictures:
            raise _other_model(source)
        facts = {**old.card, **(card or {})}
        worth = old.step_worth if step_worth is None else step_worth
        data = pack_weights(old.config, old.floats, old.twin, facts, text=old.text, step_worth=worth)
    data = with_graphs(data)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_whole(target, data)
    return unpack_weights(data, target)


def _other_model(source: Path) -> ModelError:
    return ModelError(f"{source} has its tables: fitting other ones to pictures would make it another model")


def _from_checkpoint(
    checkpoint: Path, card: Mapping[str, Any], pictures: Sequence[Path], step_worth: float | None
) -> bytes:
    network, state = load_checkpoint(checkpoint)
    if step_worth is None:
        step_worth = state.get("step_worth", STEP_WORTH)
    config = network.config
    facts: dict[str, Any] = {k: state[k] for k in ("step", "samples")} | {
        "hours": round(state["seconds"] / 3600, 2)
    }
    floats: dict[str, NDArray[Any]] = {k: v.float().numpy() for k, v in network.state_dict().items()}
    kept = twin_of_state(state)
    if kept is not None and pictures:
        raise _other_model(checkpoint)
    twin = freeze(config, floats) if kept is None else kept.tensors
    text = config.to_json() if kept is None else kept.text
    if kept is not None:
        facts |= kept.card
    if pictures:

        def frozen() -> Weights:
            identity = model_id(text, twin)
            return Weights(config, identity, {}, floats, twin, floats_id(floats), step_worth=step_worth)

        context = None
        if config.hyper_context:
            context = fit_hyper_context(frozen(), pictures)
            twin = freeze(config, floats, context=context)
        twin = freeze(config, floats, fit_tables(frozen(), pictures), context)
        facts["tables"] = f"fitted to {len(pictures)} pictures"
    floats, facts = stored_floats(floats), facts | dict(card)
    return pack_weights(config, floats, twin, facts, text=text, step_worth=step_worth)
