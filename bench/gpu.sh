#!/bin/sh
# Correctness and speed on this machine's first GPU, into bench/results/<gpu>-<date>.json.
#   bench/gpu.sh             inside 8 minutes
#   bench/gpu.sh --quick     inside 3
#   bench/gpu.sh --dry-run   what needs no GPU
# Needs Python with PyTorch and Triton, and a prebuilt `tilewright`: $TILEWRIGHT, else target/release/tilewright. No Rust.
set -eu
exec "${PYTHON:-python3}" "$(dirname "$0")/gpu.py" "$@"
