#!/usr/bin/env bash
# On a machine with a GPU: the gpu-marked tests, the benchmark and a real training, in one go.
# Results go to $OUT, or benchmarks/results.
#     scripts/on_gpu.sh [python] [more options of the training ...]
set -uo pipefail
cd "$(dirname "$0")/.."
python=${1:-python3}; shift || true
out=${OUT:-benchmarks/results}
name='import torch; print(torch.cuda.get_device_name().replace(" ", "-"))'
device=$("$python" -c "$name") || { echo "no CUDA device" >&2; exit 2; }
mkdir -p "$out"
export PYTHONPATH="src${PYTHONPATH:+:$PYTHONPATH}" WANDB_MODE=offline
"$python" -m pytest -q -m gpu -p no:cacheprovider 2>&1 | tee "$out/gpu-tests-$device.txt"
status=${PIPESTATUS[0]}
"$python" benchmarks/variants.py --device cuda --quick --out "$out/variants-$device.md"
"$python" benchmarks/loop.py --device cuda --quick --out "$out/loop-$device.md"
"$python" -m gentrain model=wgan_gp trainer=gpu logger=csv steps=3000 quality.every=1000 \
  hydra.run.dir="$out/wgan_gp-$device" "$@"
exit "$status"
