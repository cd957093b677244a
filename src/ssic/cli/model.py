"""What `ssic info` says of a weights file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ssic.cli.terminal import say
from ssic.model.weights import Weights, load_weights


def is_weights(file: str) -> bool:
    """Whether a local file begins as safetensors files do: with the length of a header, and its brace."""
    path = Path(file)
    try:
        if not path.is_file():
            return False
        with path.open("rb") as opened:
            first = opened.read(9)
    except (OSError, ValueError):  # whoever opens it next says what is wrong
        return False
    return len(first) == 9 and first[5:] == b"\0\0\0{"


def show_weights(file: str, *, as_json: bool) -> None:
    """Check a weights file, and print what is in it.

    Raises:
        ModelError: it is not a weights file, or not whole.
    """
    facts = described(load_weights(Path(file)))
    if as_json:
        say(json.dumps(facts))
        return
    say(f"{file}: model {facts['id']} ({facts['config']['name']}), floats {facts['floats']}")
    sizes = facts["bytes"]
    say(
        f"{sizes['file']:,} bytes: floats {sizes['floats']:,}, integer twin and tables {sizes['twin']:,}, "
        f"graphs {sum(facts['graphs'].values()):,} ({', '.join(facts['graphs']) or 'none: only torch can run it'})"
    )
    for title, entries in (("configuration", facts["config"]), ("card", facts["card"])):
        say(f"{title}: " + ", ".join(f"{key} {json.dumps(value)}" for key, value in entries.items()))
    say(f"To its encoder, an error of one step, squared, is worth {facts['step_worth']:.1f} bits.")
    say("All tensors are whole, and are what the configuration asks for.")


def described(weights: Weights) -> dict[str, Any]:
    """The facts that `info --json` prints."""
    return {
        "kind": "model",
        "id": weights.id.hex(),
        "floats": weights.floats_id.hex(),
        "config": json.loads(weights.text),
        "card": dict(weights.card),
        "graphs": {name: graph.nbytes for name, graph in weights.graphs.items()},
        "bytes": {
            "file": weights.path.stat().st_size if weights.path else 0,
            "floats": sum(array.nbytes for array in weights.floats.values()),
            "twin": sum(array.nbytes for array in weights.twin.values()),
        },
        "step_worth": weights.step_worth,
        "parameters": sum(array.size for array in weights.floats.values()),
    }
