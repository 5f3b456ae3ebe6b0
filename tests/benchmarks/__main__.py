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
from tests.benchmarks import engine_overhead
from tests.benchmarks.rows import rows
from tests.benchmarks.side import waiter

RESULTS = Path(__file__).parent / "results"
ROOT = Path(__file__).parents[2]
OVERHEAD = engine_overhead.LIMIT  # microseconds an op
SAMPLE = 0.25  # seconds that a sample takes at least
REST = 0.25  # seconds between samples: the threads of the other sides spin a while before they sleep


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

    def end(self):
        """Let the process end."""
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def compare(row, sides, repeats):
    """Time the sides of a row in turn; return what was found."""
    counts = {}
    samples = {name: [] for name in sides}
    peaks = {}
    for name, side in sides.items():
        side.ask(row=row.name)
        counts[name] = max(1, round(SAMPLE / side.ask(time=1)["seconds"]))
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
        "series": row.series,
    }


def measured(chosen, device, threads, repeats):
    """What `compare` finds for each row in turn, or the error of one that failed.

    On a CPU each row has processes of its own, because only a fresh one has a clean peak of memory. On a GPU, where
    the libraries report their peaks themselves and take seconds to load, all rows share theirs.
    """
    sides = {}
    try:
        for row in tqdm(chosen):
            try:
                for name in row.sides(device):
                    sides[name] = sides.get(name) or Side(name, device, threads)
                yield row, compare(row, sides, repeats), None
            except RuntimeError as error:  # what was measured before is not lost
                yield row, None, error
                end(sides)
            if device == "cpu":
                end(sides)
    finally:
        end(sides)


def end(sides):
    """End the processes."""
    while sides:
        sides.popitem()[1].end()


def limits(device):
    """What this device can do: float32 operations a second in a matrix product, bytes a second in a copy."""
    n = 1024 if device == "cpu" else 8192
    wait = waiter("minivis", device)
    a, b = (mv.to_device(x, device) for x in np.random.default_rng(0).random((2, n, n), np.float32))
    large, other = (mv.to_device(np.ones(2**25, np.float32), device) for _ in range(2))

    def seconds(run):
        found = []
        for _ in range(30):
            start = time.perf_counter()
            run()
            wait()
            found.append(time.perf_counter() - start)
        return min(found)  # a limit is what it can do, not what it does beside others

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
        "| | minivis, ms | PyTorch, ms | ratio (spread) | at least / aim | limit, ms (of ours) | memory, MB, ours / theirs |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in content["rows"]:
        ours, theirs = (1e3 * row["seconds"][side] for side in ("minivis", "torch"))
        limit = 1e3 * max(row["flops"] / gemm, row["bytes"] / copy)
        bar = f"{row['at_least']:g} / {row['aim']:g}" if row["at_least"] else ""
        peaks = " / ".join(f"{row['peak_bytes'][side] / 2**20:.0f}" for side in ("minivis", "torch"))
        if row["memory_at_least"]:
            peaks += f" = **{memory_ratio(row):.2f}** (at least {row['memory_at_least']:g})"
        low, high = row["spread"]
        lines.append(
            f"| {row['row']} | {short(ours)} | {short(theirs)} | **{row['ratio']:.2f}** ({low:.2f} to {high:.2f}) | {bar} "
            f"| {short(limit)} ({limit / ours:.0%}) | {peaks} |"
        )
    lines += ["", *grown(content["rows"]), "", *beside_dezero(content["rows"])]
    if overhead := content.get("overhead_us"):
        lines.append(
            f"\nWhat the engine adds to an op of bare NumPy: {overhead:.1f} us (at least {OVERHEAD:g}, aim 2)."
        )
    if tests := content.get("tests"):
        lines.append(
            f"\n`make test`: {tests['says']} in {tests['seconds']:.0f} s on {tests['threads']} cores."
        )
    return "\n".join(lines) + "\n"


def short(number):
    """Three digits, without an exponent."""
    return f"{number:,.0f}" if number >= 1000 else f"{number:.3g}" if number >= 1e-3 else f"{number:.6f}"


def beside_dezero(rows):
    """The rows that DeZero can do, as lines of Markdown."""
    found = [(row["row"], row["seconds"]) for row in rows if "dezero" in row["seconds"]]
    if not found:
        return []
    lines = ["| what DeZero can do | DeZero, ms | minivis, ms | ratio |", "|---|---|---|---|"]
    for name, seconds in found:
        ours, other = 1e3 * seconds["minivis"], 1e3 * seconds["dezero"]
        lines.append(f"| {name} | {short(other)} | {short(ours)} | {ours / other:.2f} |")
    return lines


def memory_ratio(row):
    """Our peak of memory over PyTorch's."""
    return row["peak_bytes"]["minivis"] / max(1, row["peak_bytes"]["torch"])


def exponents(rows):
    """{series: {side: exponent}}: the slope of a line through log(time) against log(size)."""
    series = {}
    for row in rows:
        if row["series"]:
            name, size = row["series"]
            series.setdefault(name, []).append((size, row["seconds"]))
    return {
        name: {
            side: float(np.polyfit(*np.log([(size, seconds[side]) for size, seconds in points]).T, 1)[0])
            for side in ("minivis", "torch")
        }
        for name, points in series.items()
        if len(points) > 1
    }


def grown(rows):
    """How time grows, as lines of Markdown."""
    found = exponents(rows)
    if not found:
        return []
    lines = ["| time grows as a power of the size | minivis | PyTorch |", "|---|---|---|"]
    return lines + [f"| {name} | {x['minivis']:.2f} | {x['torch']:.2f} |" for name, x in found.items()]


def missed(content):
    """The bars that were not met, in words."""
    rows = content["rows"]
    found = [f"missed its bar: {r['row']}" for r in rows if r["at_least"] and r["ratio"] > r["at_least"]]
    found += [
        f"missed its bar for memory: {row['row']}"
        for row in rows
        if row["memory_at_least"] and memory_ratio(row) > row["memory_at_least"]
    ]
    found += content.get("tests", {}).get("failed", [])
    return found + ["missed its bar: what the engine adds to an op"] * (
        content.get("overhead_us", 0) > OVERHEAD
    )


def tests(threads):
    """How long `make test` takes, and what it says."""
    run = [sys.executable, "-m", "pytest", "-q", "-n", str(threads), "-p", "no:cacheprovider"]
    start = time.perf_counter()
    done = subprocess.run(
        run, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True
    )
    seconds = time.perf_counter() - start
    lines = done.stdout.strip().splitlines()
    return {
        "seconds": seconds,
        "threads": threads,
        "says": lines[-1].strip("= ").partition(" in ")[0],
        "failed": [line for line in lines if line.startswith(("FAILED", "ERROR"))],
    }


def main():
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], prog="python -m tests.benchmarks")
    parser.add_argument("--device", choices=["cpu", "gpu"], default="cpu")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of all sides")
    parser.add_argument("--repeats", type=int, default=9, help="samples of each side of a row")
    parser.add_argument("--only", default="", help="rows whose name holds this; nothing is written then")
    parser.add_argument(
        "--tests",
        action="store_true",
        help="time the tests too, some minutes; otherwise what they took on this machine stays",
    )
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
    if options.device == "cpu" and not options.only:
        content["overhead_us"] = engine_overhead.main()
    failed = []
    results = RESULTS / f"against_pytorch_{options.device}"
    before = results.with_suffix(".json")
    if before.exists() and not options.only:
        known = json.loads(before.read_text(encoding="utf-8"))
        if known["machine"] == content["machine"] and "tests" in known:
            content["tests"] = known["tests"]
    for row, found, error in measured(chosen, options.device, options.threads, options.repeats):
        if error is None:
            content["rows"].append(found)
        else:
            failed.append(f"failed: {row.name}: {error}")
        if not options.only:
            write(content, results)
    if options.tests:
        content["tests"] = tests(options.threads)
        write(content, results)
    print(table(content))
    print("\n".join([*failed, *missed(content)]) or "every bar is met")
    return bool(failed or missed(content))


def write(content, stem):
    """Write the json and the table."""
    text = table(content)
    storage.write_files(
        {stem.with_suffix(".json"): storage.pack_json(content), stem.with_suffix(".md"): text.encode()}
    )


if __name__ == "__main__":
    raise SystemExit(main())
