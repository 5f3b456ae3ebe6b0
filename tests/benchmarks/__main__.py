"""`make bench`: every row in minivis and in eager PyTorch, in turn, side by side; writes json and a table to results/.

Not here: the rows (rows.py), the two processes (side.py).
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from tqdm import tqdm

import minivis as mv
from minivis import storage
from tests.benchmarks.rows import rows
from tests.benchmarks.side import waiter

RESULTS = Path(__file__).parent / "results"
SAMPLE = 0.05  # seconds that a sample takes at least
REST = 0.05  # seconds between samples: threads of the other side stop spinning


class Side:
    """A process that times one side of one row."""

    def __init__(self, side, device, threads):
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.side", side, device],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )

    def ask(self, **asked):
        """Send a request, return the answer."""
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(
                f"the benchmark's process ended with {self.process.wait()}; its message is above"
            )
        return json.loads(answer)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def compare(row, device, threads, repeats):
    """Time both sides of a row in turn; return what was found."""
    with Side("minivis", device, threads) as ours, Side("torch", device, threads) as theirs:
        sides = {"minivis": ours, "torch": theirs}
        counts = {}
        for name, side in sides.items():
            warm = side.ask(row=row.name)
            warm = side.ask(time=1)
            counts[name] = max(1, round(SAMPLE / warm["seconds"]))
        samples, peaks = {name: [] for name in sides}, {}
        for _ in range(repeats):
            for name, side in sides.items():
                time.sleep(REST)
                answer = side.ask(time=counts[name])
                samples[name].append(answer["seconds"])
                peaks[name] = answer["peak"]
    ratios = [a / b for a, b in zip(samples["minivis"], samples["torch"], strict=True)]
    flops, moved = row.work()
    return {
        "row": row.name,
        "seconds": {name: statistics.median(values) for name, values in samples.items()},
        "ratio": statistics.median(ratios),
        "spread": [min(ratios), max(ratios)],
        "peak_bytes": peaks,
        "at_least": row.at_least,
        "aim": row.aim,
        "memory_at_least": row.memory,
        "flops": flops,
        "bytes": moved,
    }


def limits(device):
    """What this device can do: float32 operations a second in a matrix product, bytes a second in a copy."""
    n, wait = 1024 if device == "cpu" else 8192, waiter("minivis", device)
    a, b = (mv.to_device(x, device) for x in np.random.default_rng(0).random((2, n, n), np.float32))
    large, other = (mv.to_device(np.ones(2**25, np.float32), device) for _ in range(2))

    def seconds(run):
        found = []
        for _ in range(8):
            start = time.perf_counter()
            run()
            wait()
            found.append(time.perf_counter() - start)
        return statistics.median(found[1:])

    def copy():
        other[...] = large

    return 2 * n**3 / seconds(lambda: a @ b), 2 * large.nbytes / seconds(copy)


def machine(device, threads):
    """The machine in words."""
    if device == "gpu":
        import cupy

        name = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
        return f"{name}, CuPy {cupy.__version__}, NumPy {np.__version__}"
    import threadpoolctl

    blas = [library for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"]
    kernel = ", ".join(f"{x['internal_api']} {x['version']} ({x.get('architecture')})" for x in blas)
    return (
        f"{platform.machine()}, {os.cpu_count()} cores, {threads} threads, NumPy {np.__version__}, {kernel}"
    )


def table(content):
    """The results as Markdown."""
    gemm, copy = content["gemm_flops"], content["copy_bytes"]
    lines = [
        f"{content['machine']}; {content['torch']}. Matrix product {gemm / 1e9:.0f} GFLOP/s, copy {copy / 1e9:.1f} GB/s.",
        "",
        "| | minivis, ms | PyTorch, ms | ratio (spread) | at least / aim | peak, MB: ours, theirs | limit, ms | of the limit |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in content["rows"]:
        ours, theirs = (1e3 * row["seconds"][side] for side in ("minivis", "torch"))
        limit = 1e3 * max(row["flops"] / gemm, row["bytes"] / copy)
        bar = f"{row['at_least']:g} / {row['aim']:g}" if row["at_least"] else ""
        peaks = ", ".join(f"{row['peak_bytes'][side] / 2**20:.0f}" for side in ("minivis", "torch"))
        low, high = row["spread"]
        lines.append(
            f"| {row['row']} | {ours:.3g} | {theirs:.3g} | **{row['ratio']:.2f}** ({low:.2f} to {high:.2f}) | {bar} | {peaks} "
            f"| {limit:.3g} | {limit / ours:.0%} |"
        )
    return "\n".join(lines) + "\n"


def main():
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], prog="python -m tests.benchmarks")
    parser.add_argument("--device", choices=["cpu", "gpu"], default="cpu")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of both sides")
    parser.add_argument("--repeats", type=int, default=9, help="samples of each side of a row")
    parser.add_argument("--only", default="", help="rows whose name holds this; nothing is written then")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    import torch

    chosen = [row for row in rows(options.device) if options.only in row.name]
    gemm, copy = limits(options.device)
    content = {
        "machine": machine(options.device, options.threads),
        "torch": f"PyTorch {torch.__version__}",
        "gemm_flops": gemm,
        "copy_bytes": copy,
        "rows": [],
    }
    failed = []
    for row in tqdm(chosen):
        try:
            content["rows"].append(compare(row, options.device, options.threads, options.repeats))
        except RuntimeError as error:  # what was measured before is not lost
            failed.append(f"failed: {row.name}: {error}")
        if not options.only:
            write(content, RESULTS / f"against_pytorch_{options.device}")
    print(table(content))
    missed = [
        f"missed its bar: {row['row']}"
        for row in content["rows"]
        if row["at_least"] and row["ratio"] > row["at_least"]
    ]
    print("\n".join([*failed, *missed]) or "every bar is met")
    return bool(failed or missed)


def write(content, stem):
    """Write the json and the table."""
    written = {".json": storage.pack_json(content), ".md": table(content).encode()}
    storage.write_files({stem.with_suffix(suffix): text for suffix, text in written.items()})


if __name__ == "__main__":
    raise SystemExit(main())
