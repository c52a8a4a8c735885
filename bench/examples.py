"""Every example on a device against the program's meaning (the evaluator, which `run --check` compares with)."""

import binary
from report import row


def check(devices, deadline):
    """A row for each kernel and device. What the compiler refuses has no row: it is printed, and is no failure of a device."""
    for file in sorted(binary.EXAMPLES.glob("*.tw")):
        for kernel in binary.kernels(file):
            status, out, err = binary.call(["compile", file, "--kernel", kernel, "--emit", "meta", "--json"], timeout=60)
            if status == binary.REFUSED:
                print(f"{file.name} {kernel}: not compiled: {binary.message(status, out, err)}", flush=True)
                continue
            for device in devices:
                if deadline.near(15):
                    print(f"{file.name} {kernel} on {device}: skipped, no time left", flush=True)
                    continue
                yield one(file, kernel, device, min(90, deadline.left()))


def one(file, kernel, device, timeout):
    args = ["run", file, "--kernel", kernel, "--check", "--device", device, "--json"]
    status, out, err = binary.call(args, timeout)
    result = next((o for o in binary.objects(out) if "run_ms" in o), {})
    if status != 0:
        print(f"{file.name} {kernel} on {device}: {binary.message(status, out, err)}", flush=True)
    shape = ",".join(f"{name}={n}" for name, n in result.get("dims", {}).items())
    dtype = result["outputs"][0]["dtype"] if result.get("outputs") else ""
    place = "gpu" if device.startswith("cuda") else "executor"
    # A single cold run: a check, not a timing, so its time is left out of the row.
    return row(f"example/{file.stem}/{kernel}/{place}", shape, dtype, error_ok=status == 0 and result.get("ok") is True)
