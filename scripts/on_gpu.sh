#!/usr/bin/env bash
# Everything that needs an NVIDIA GPU, one step per call; the steps after `install` run on the machine that has it.
#
#   pack       with network: write the wheels for a GPU machine without network to gpu-parts/, in parts of $PART_MIB MiB
#   take DIR   on the GPU machine: store the parts in DIR; once for all parts, or as they arrive
#   install    join the stored parts, and install their wheels to $SITE
#   engine     compare engines for the default targets and for this GPU with the CPU's fp32 result (at least 50 dB)
#   zerocopy   compare frames that stay on the GPU from decoder to encoder with the path through the host
#   test       the GPU tests; a missing GPU is a failure
#   train      train CONFIG (train/configs/fast.toml) in $RESULTS/run; repeat to continue
#   pack-train put trainer, data of CONFIG (train/configs/gpu.toml) and the weights START into gpu-train/, at most
#              $PACK_MIB MiB; needs the network if the GPU machine has a different Python version
#   train-minutes N   in that folder, on the GPU machine: train for N minutes. $OUT gets the averaged weights every
#              minute (weights.safetensors), and at the end the journal and its curves
#   bench      figures of this GPU, appended to docs/benchmarks.md
#   all        engine, zerocopy, test and bench
#
# Without network, on a machine that keeps files between calls:
#   here:   scripts/on_gpu.sh pack
#   there:  scripts/on_gpu.sh take gpu-parts      (repeat, if only some parts can be sent at a time)
#           scripts/on_gpu.sh install all
# To train there, with only PyTorch, NumPy, OpenCV and safetensors:
#   here:   PACK_MIB=20 scripts/on_gpu.sh pack-train
#   there:  cd gpu-train && OUT=/tmp/out scripts/on_gpu.sh train-minutes 8
# With network: pip install -e '.[rtx,train]' --group dev, then `scripts/on_gpu.sh all`.
set -euo pipefail
cd "$(dirname "$0")/.."

STORE=${STORE:-${XDG_CACHE_HOME:-${HOME:?}/.cache}/rtdeblur-gpu}
SITE=${SITE:-$STORE/site}
RESULTS=${RESULTS:-runs/gpu}
PART_MIB=${PART_MIB:-24}
PYTHON_VERSION=${PYTHON_VERSION:-3.12} # of the GPU machine
# TRAIN: settings that override CONFIG, one KEY=VALUE per word, for train, pack-train and train-minutes
VIDEO=${VIDEO:-}                       # a real clip for `engine` and `bench`; a generated picture without

# Packages missing from an image with PyTorch and CUDA, which has NumPy, Pillow, click, rich, filelock, pytest and
# cuda-bindings.
RTX=1.7.1.116
WHEELS=(av==18.1.0 msgspec==0.22.0 openvino==2026.4.0 openvino-telemetry "tensorrt-rtx-cu13-bindings==$RTX"
    "tensorrt-rtx-cu13-libs==$RTX" platformdirs lightning-fabric)

# Files in $STORE and $SITE are executed, so nobody else may have write access to them.
private() { # DIR: made for its owner only, or checked
    umask 077
    mkdir -p "$(dirname "$1")"
    [ -e "$1" ] || [ -L "$1" ] || mkdir -m 700 "$1"
    if [ -L "$1" ] || [ ! -d "$1" ] || [ ! -O "$1" ] || [ -n "$(find "$1" -maxdepth 0 -perm /022)" ]; then
        echo "$1 is a link, or writable by others; remove it, or set STORE and SITE" >&2
        exit 1
    fi
}

step_pack() {
    rm -rf gpu-parts && mkdir -p gpu-parts/wheels
    local platforms=() n
    for n in 17 24 27 28 31 34 35; do platforms+=(--platform "manylinux_2_${n}_x86_64"); done
    python3 -m pip download --quiet --no-deps --only-binary=:all: --python-version "$PYTHON_VERSION" \
        --implementation cp "${platforms[@]}" --platform manylinux2014_x86_64 -d gpu-parts/wheels "${WHEELS[@]}"
    # The package itself is a source distribution of a few kilobytes, the same for every Python.
    python3 -m pip wheel --quiet --no-deps -w gpu-parts/wheels "tensorrt-rtx-cu13==$RTX"
    tar -C gpu-parts/wheels -cf - . |
        split --bytes="${PART_MIB}M" --numeric-suffixes --suffix-length=2 - gpu-parts/part-
    (cd gpu-parts && sha256sum part-* >SHA256SUMS)
    rm -r gpu-parts/wheels
    ls -l gpu-parts
}

step_take() {
    private "$STORE"
    mkdir -p "$STORE/parts"
    cp "$1"/* "$STORE/parts/"
    ls "$STORE/parts"
}

step_install() {
    private "$STORE"
    (cd "$STORE/parts" && sha256sum --quiet --check SHA256SUMS)
    mkdir -p "$STORE/wheels"
    cat "$STORE"/parts/part-* | tar -C "$STORE/wheels" -xf -
    python3 -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir --upgrade \
        --target "$SITE" "$STORE"/wheels/*.whl
    # rtdeblur runs from this folder; only its version is needed.
    mkdir -p "$SITE/rtdeblur.dist-info"
    sed -n 's/^\(name\|version\) = "\(.*\)"/\1: \2/p' pyproject.toml >"$SITE/rtdeblur.dist-info/METADATA"
}

step_engine() { python3 scripts/check_engine.py ${VIDEO:+"$VIDEO"} | tee "$RESULTS/engine.txt"; }

step_zerocopy() { python3 scripts/check_zerocopy.py ${VIDEO:+"$VIDEO"} | tee "$RESULTS/zerocopy.txt"; }

step_test() {
    local what=(tests/cuda tests/backends tests/media/test_nvdec.py)
    if python3 -c 'import torch, train.fit.run' 2>/dev/null; then
        what+=(tests/train/fit/test_cuda.py)
    else
        echo "the trainer's packages are missing: skipping its tests"
    fi
    if python3 -c 'import torch_tensorrt, train.export.graph' 2>/dev/null; then
        what+=(tests/train/export/test_engine.py)
    else
        echo "torch-tensorrt or the trainer's packages are missing: skipping the comparison of its engines"
    fi
    RTDEBLUR_REQUIRE_CUDA=1 python3 -m pytest -q -m needs_cuda -p no:cacheprovider "${what[@]}" |
        tee "$RESULTS/test.txt"
}

step_train() {
    local options=()
    mapfile -t options < <(settings "${TRAIN-batch=32 crop=192}")
    python3 -m train fit "${CONFIG:-train/configs/fast.toml}" --set "output='$RESULTS/run'" "${options[@]}" |
        tee -a "$RESULTS/train.txt"
}

settings() { # the words of $1 as options of `train fit`, one per line
    local words=()
    read -ra words <<<"$1"
    [ ${#words[@]} -eq 0 ] || printf -- '--set=%s\n' "${words[@]}"
}

step_pack-train() {
    local options=()
    mapfile -t options < <(settings "${TRAIN-}")
    python3 -m train pack "${CONFIG:-train/configs/gpu.toml}" "${options[@]}" -o "${PACK:-gpu-train}" \
        --start "${START:-rtdeblur/models/fine-fp16.onnx}" --mib "${PACK_MIB:-60}" --python "$PYTHON_VERSION"
}

# Bash counts SECONDS from the script's start, so the minutes include unpacking.
step_train-minutes() {
    local options=()
    out=${OUT:-$RESULTS} # for the trap too, which runs outside
    mkdir -p "$out"
    [ -d packages ] || python3 -c 'import tarfile; tarfile.open("packages.tar.xz").extractall("packages", filter="data")'
    mapfile -t options < <(settings "${TRAIN-}")
    trap 'cp run/journal.jsonl run/curves.png "$out" 2>/dev/null || true' EXIT
    PYTHONPATH="$PWD/packages:$PWD" python3 -m train fit run.toml "${options[@]}" \
        --set "schedule.minutes=$(python3 -c "print($1 - $SECONDS / 60)")" --set "weights='$out/weights.safetensors'"
}

step_bench() {
    {
        echo
        echo "## $(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader --id=0), $(date -u +%F)"
        echo
        echo '```'
        if [ -n "$VIDEO" ]; then what=("$VIDEO"); else what=(--size 720p --size 1080p); fi
        python3 -m rtdeblur bench --backend tensorrt --batch 1 --batch 4 "${what[@]}"
        # PyTorch runs the same network in the same call, if installed.
        if python3 -c 'import torch, train.export.graph' 2>/dev/null; then
            python3 scripts/bench_torch.py train/configs/fast.toml --size 720p
            python3 scripts/bench_torch.py train/configs/fast.toml --size 1080p
        fi
        echo '```'
    } | tee "$RESULTS/bench.md" | tee -a docs/benchmarks.md
}

if [ $# -eq 0 ]; then
    sed -n '2,/^set/s/^# \{0,1\}//p' "$0"
    exit 2
fi
mkdir -p "$RESULTS"
for folder in "$STORE" "$SITE"; do
    [ ! -e "$folder" ] || private "$folder"
done
export PYTHONPATH="$SITE:$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
while [ $# -gt 0 ]; do
    case $1 in
    pack | install | engine | zerocopy | test | train | pack-train | bench) "step_$1" ;;
    take | train-minutes)
        "step_$1" "$2"
        shift
        ;;
    all)
        step_engine
        step_zerocopy
        step_test
        step_bench
        ;;
    *)
        echo "no step is called $1; run $0 without arguments to list them" >&2
        exit 2
        ;;
    esac
    shift
done
