#!/bin/sh
# Compile time and executor speed on this machine, into bench/results/cpu-<date>.json.
# Needs a prebuilt `tilewright` ($TILEWRIGHT, else target/release/tilewright) and Python; numpy and Triton where they are to be compared.
set -eu
exec "${PYTHON:-python3}" "$(dirname "$0")/cpu.py" "$@"
