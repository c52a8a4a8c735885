"""The prebuilt `tilewright` and what is asked of it."""

import json
import os
import pathlib
import re
import subprocess
import tempfile

from report import ROOT

EXAMPLES = ROOT / "dsl_examples"
# Exit statuses: 1 the program is refused, 3 a bug of ours.
REFUSED = 1


class Refused(Exception):
    """The compiler says that it cannot compile this; the message is its first diagnostic."""


def path():
    found = os.environ.get("TILEWRIGHT") or str(ROOT / "target" / "release" / "tilewright")
    return found if pathlib.Path(found).is_file() else None


def call(args, timeout=120, env=None):
    """Exit status (None: it ran too long), stdout and stderr."""
    try:
        done = subprocess.run([path(), *map(str, args)], capture_output=True, text=True, timeout=timeout, env={**os.environ, **(env or {})})
        return done.returncode, done.stdout, done.stderr
    except subprocess.TimeoutExpired:
        return None, "", f"no answer within {timeout:.0f} s"


def objects(text):
    """The JSON objects of `--json`, one a line."""
    found = []
    for line in text.splitlines():
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            pass
    return [o for o in found if isinstance(o, dict)]


def message(status, out, err):
    """Why a call failed, in one line."""
    said = next((o["message"] for o in objects(out) + objects(err) if "message" in o), None)
    return said or next((line for line in err.splitlines() if line.strip()), f"exit status {status}")


def kernels(file):
    """Names of the kernels in a .tw file, instances included."""
    return re.findall(r"^kernel\s+(\w+)", file.read_text(), re.MULTILINE)


def compile_kernel(file, kernel, target=None, sets=(), dims=()):
    """PTX and meta of one kernel; `dims` are frozen."""
    args = ["compile", file, "--kernel", kernel, *(["--target", target] if target else []), *(a for s in sets for a in ("--set", s)), *(a for d in dims for a in ("--dim", d))]
    with tempfile.TemporaryDirectory() as folder:
        texts = []
        for emit in ("ptx", "meta"):
            output = pathlib.Path(folder) / emit
            status, out, err = call([*args, "--emit", emit, "-o", output])
            if status != 0:
                raise Refused(message(status, out, err))
            texts.append(output.read_text())
    return texts[0], json.loads(texts[1])
