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
#   COMPILE seconds for compiling; pieces that aren't done are left out (100)
#   CACHE   folder of compiled kernels, kept between calls            (/tmp/ssic-compiled)
#   MORE    further options of `ssic train`, e.g. "--batch 8 --crop 64"
#
# OUT receives checkpoint.pt.part-aa ... (at most 15 MiB each; optimiser states in bfloat16, so that it stays small),
# log.jsonl and run.txt. `cat checkpoint.pt.part-* > checkpoint.pt` and `ssic export-weights` make weights of it.
# It ends within SECONDS: training stops by its own clock, decoding included, and from outside if that fails; what is
# left then is the last checkpoint (one before steps are captured, one every five minutes).
# Needs Python 3.11 or newer with torch 2.9 or newer, NumPy, Pillow, safetensors, typer, rich; constriction is
# taken from .gpu/wheels if it isn't installed. Put what must travel into .gpu/ (git ignores it).
set -euo pipefail
out=$1 seconds=$2 preset=${3:-small}
root=$(cd "$(dirname "$0")/.." && pwd)
pack=${PACK:-$root/.gpu/pack} parts=${PARTS:-$root/.gpu/parts} device=${DEVICE:-cuda} decay=${DECAY:-0}
started=$(date +%s)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out" "$work/run"

python=$(command -v python3)
export PYTHONPATH=$root/src PYTHONUNBUFFERED=1 TORCHINDUCTOR_CACHE_DIR=${CACHE:-/tmp/ssic-compiled}
if ! "$python" -c "import constriction" 2>/dev/null; then
    "$python" -m pip install -q --no-index --no-deps --target "$work/site" "$root"/.gpu/wheels/*.whl
    export PYTHONPATH=$PYTHONPATH:$work/site
fi

if [ -f "$pack" ]; then
    mkdir "$work/pack" && tar -xf "$pack" -C "$work/pack" && pack=$work/pack
fi
from=()
if compgen -G "$parts/checkpoint.pt.part-*" >/dev/null; then
    cat "$parts"/checkpoint.pt.part-* >"$work/run/checkpoint.pt"
    echo "resuming from $parts"
elif [ -f "$root/src/ssic/weights/$preset.safetensors" ]; then
    from=(--weights "$root/src/ssic/weights/$preset.safetensors")
    echo "starting from the shipped weights"
fi

# Left for saving, splitting and the last validation: a minute, or a tenth.
spare=$((seconds / 10 < 60 ? seconds / 10 : 60))
remaining() { echo $((seconds - spare - ($(date +%s) - started))); }

# train OPTIONS...: for what remains.
train() {
    local left
    left=$(remaining)
    [ "$left" -gt 0 ] || return 1
    # SIGTERM, as Ctrl-C, would end training with a checkpoint; what doesn't listen any more is killed.
    # shellcheck disable=SC2086  # MORE is a list of words
    timeout --preserve-status -k 5 $((left + spare / 2)) "$python" -m ssic train --data "$pack" --run "$work/run" \
        --preset "$preset" --device "$device" --minutes "$("$python" -c "print($left / 60)")" --decay "$decay" \
        --compile-seconds "${COMPILE:-100}" "$@" ${MORE:-} 2>&1 | tee -a "$out/run.txt"
}

# The card's batch: enough tokens to fill it.
batch=() status=0
[ "$device" = cuda ] && batch=(--batch 80)
train "${batch[@]}" "${from[@]}" || status=$?
if [ "$status" != 0 ] && [ "$device" = cuda ] && [ -f "$work/run/checkpoint.pt" ]; then
    echo "again without a graph, from the last checkpoint" | tee -a "$out/run.txt"
    status=0
    train "${batch[@]}" --launch compiled || status=$?
fi

[ -f "$work/run/checkpoint.pt" ] || { echo "no checkpoint was left" >&2; exit 1; }
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
exit "$status"
