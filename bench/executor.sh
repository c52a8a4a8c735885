#!/bin/sh
# The executor's speed on this machine beside a float32 BLAS product, into bench/results/executor-<date>.json.
# Needs a prebuilt `tilewright` ($TILEWRIGHT, else target/release/tilewright) and Python; numpy for the BLAS side.
set -eu
exec "${PYTHON:-python3}" "$(dirname "$0")/executor.py" "$@"
