#!/usr/bin/env bash
# Train on a bare machine with a GPU, without network, and leave everything that carries on in one folder.
#
#   scripts/gpu_train.sh OUT SECONDS [PRESET]
#
# Environment (all optional):
#   PACK    folder or .tar of training pictures                       (.gpu/pack)
#   PARTS   folder with checkpoint.pt.part-* of an earlier run        (.gpu/parts; where there is none, training
#           starts from the shipped weights of the preset, and where there are none, anew)
#   DEVICE  cuda or cpu                                               (cuda)
#   DECAY   share of the time in which the learning rate falls to 0   (0: to be resumed)
#   MORE    further options of `ssic train`, e.g. "--batch 8 --crop 64"
#
# OUT receives checkpoint.pt.part-aa ... (at most 15 MiB each; optimiser states in bfloat16, so that it stays small),
# log.jsonl and run.txt. `cat checkpoint.pt.part-* > checkpoint.pt` and `ssic export-weights` make weights of it.
# Needs Python 3.11 or newer with torch 2.9 or newer, NumPy, Pillow, safetensors, typer, rich; constriction is
# taken from .gpu/wheels if it isn't installed. Put what must travel into .gpu/ (git ignores it).
set -euo pipefail
out=$1 seconds=$2 preset=${3:-small}
root=$(cd "$(dirname "$0")/.." && pwd)
pack=${PACK:-$root/.gpu/pack} parts=${PARTS:-$root/.gpu/parts} device=${DEVICE:-cuda} decay=${DECAY:-0}
started=$(date +%s)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out"

python=$(command -v python3)
export PYTHONPATH=$root/src PYTHONUNBUFFERED=1
if ! "$python" -c "import constriction" 2>/dev/null; then
    "$python" -m pip install -q --no-index --no-deps --target "$work/site" "$root"/.gpu/wheels/*.whl
    export PYTHONPATH=$PYTHONPATH:$work/site
fi

if [ -f "$pack" ]; then
    mkdir "$work/pack" && tar -xf "$pack" -C "$work/pack" && pack=$work/pack
fi
mkdir "$work/run"
if compgen -G "$parts/checkpoint.pt.part-*" >/dev/null; then
    cat "$parts"/checkpoint.pt.part-* >"$work/run/checkpoint.pt"
    echo "resuming from $parts"
elif [ -f "$root/src/ssic/weights/$preset.safetensors" ]; then
    from="--weights $root/src/ssic/weights/$preset.safetensors"
    echo "starting from the shipped weights"
fi

# The card's batch: enough tokens to fill it, and steps enough in half an hour.
batch=$([ "$device" = cuda ] && echo "--batch 32" || echo "")
# Leave a minute, or a tenth, for saving and splitting.
spare=$((seconds / 10 < 60 ? seconds / 10 : 60))
left=$((seconds - spare - ($(date +%s) - started)))
# shellcheck disable=SC2086  # MORE, from and batch are lists of words
"$python" -m ssic train --data "$pack" --run "$work/run" --preset "$preset" --device "$device" \
    --minutes "$("$python" -c "print(max($left, 1) / 60)")" --decay "$decay" $batch ${from:-} ${MORE:-} 2>&1 | tee "$out/run.txt"

"$python" - "$work/run/checkpoint.pt" <<'END'
import sys, torch
state = torch.load(sys.argv[1], map_location="cpu", weights_only=True)
for optimiser in state["optimisers"]:
    for slot in optimiser["state"].values():
        for key, value in slot.items():
            if torch.is_tensor(value) and value.ndim > 0:
                slot[key] = value.bfloat16()
torch.save(state, sys.argv[1])
END
split -b 15m "$work/run/checkpoint.pt" "$out/checkpoint.pt.part-"
cp "$work/run/log.jsonl" "$out/"
ls -l "$out"
