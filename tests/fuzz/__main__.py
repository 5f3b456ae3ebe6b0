"""`python -m tests.fuzz`: broken files for every reader, a progress bar, a table, and each finding with how to see it again.

Not here: what is broken and watched (mutators.py, watching.py).
"""

import argparse
import logging
import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy: a thread's memory would count as the reader's
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from tqdm import tqdm

from tests.fuzz import gather
from tests.fuzz.watching import fuzz, mutant, written


def main(arguments=None):
    """Run it; 0 when there are no findings."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--readers", nargs="+", default=["*"], metavar="NAME", help="patterns of names (default: all)"
    )
    parser.add_argument(
        "--files", default="*_readers.py", metavar="PATTERN", help="where readers are looked for"
    )
    parser.add_argument(
        "--mutants", type=int, default=2000, metavar="N", help="for each reader (default: 2000)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the mutations (default: 0)")
    parser.add_argument("--show", type=int, metavar="NUMBER", help="only this mutant, here and unwatched")
    parser.add_argument("--all", action="store_true", help="print every finding, not one of each kind")
    options = parser.parse_args(arguments)
    readers = gather(options.files, options.readers)
    if not readers:
        parser.error(f"no reader fits {' '.join(options.readers)}")
    if options.show is not None:
        return _show(readers[0], options.seed, options.show)
    logging.getLogger("minivis").setLevel(logging.ERROR)  # what is missing is noted: not here
    reports = {}
    with tqdm(total=options.mutants * len(readers), unit="mutant", disable=None) as bar:
        for reader in readers:
            bar.set_description(reader.name)
            reports[reader.name] = fuzz(reader, options.mutants, options.seed, each=bar.update)
    for name, report in reports.items():
        _print_findings(name, report, options)
    _print_table(reports)
    return 1 if any(report.findings for report in reports.values()) else 0


def _print_findings(name, report, options):
    seen = set()
    for finding in report.findings:
        kind = finding["trace"].strip().splitlines()[-3:-1] or finding["what"][:40]
        if options.all or str(kind) not in seen:
            print(f"--- {name}, mutant {finding['number']}: {finding['mutation']}\n{finding['what']}")
            print(
                f"{finding['trace']}python -m tests.fuzz --readers '{name}' --seed {options.seed} --show {finding['number']}\n"
            )
        seen.add(str(kind))


def _print_table(reports):
    width = max(map(len, reports))
    print(f"{'reader':{width}}  mutants    read refused findings  slowest")
    for name, report in reports.items():
        read, refused, found = (report.counts[kind] for kind in ("read", "refused", "finding"))
        total = sum(report.counts.values())
        print(f"{name:{width}} {total:8} {read:7} {refused:7} {found:8} {report.slowest:6.2f} s")


def _show(reader, seed, number):
    """One mutant by itself, with the whole traceback."""
    files, told = mutant(reader, written(reader), seed, number)
    folder = Path(tempfile.mkdtemp(prefix="minivis-fuzz-")) / "fuzzed-folder"
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    print(f"{told}\nin {folder}")
    print(repr(reader.read(folder))[:500])
    return 0


if __name__ == "__main__":
    sys.exit(main())
