"""Write tests/parity/fixtures/ops.npz: what PyTorch gives, in float64, for every row of tests/ops/cases.

Run from the repository's root, with the extras dev and parity:  python -m tests.parity.make_op_fixtures
"""

import json
from pathlib import Path

import numpy as np

PATH = Path(__file__).parent / "fixtures" / "ops.npz"


def save(results, torch_version):
    """Every array one after another in `values`; `index` says whose they are and their shapes."""
    index = {key: [list(x.shape) for x in arrays] for key, arrays in results.items()}
    values = [np.ravel(x).astype(np.float64) for arrays in results.values() for x in arrays]
    PATH.parent.mkdir(exist_ok=True)
    np.savez_compressed(
        PATH,
        index=np.array(json.dumps(index, separators=(",", ":"))),
        values=np.concatenate(values),
        torch_version=np.array(torch_version),
    )


def load():
    """The stored arrays: row -> [outputs, arrays written in place, gradients]."""
    with np.load(PATH, allow_pickle=False) as stored:
        index = json.loads(str(stored["index"]))
        values = stored["values"]
    found = {}
    start = 0
    for key, shapes in index.items():
        found[key] = []
        for shape in shapes:
            size = int(np.prod(shape, dtype=int))
            found[key].append(values[start : start + size].reshape(shape))
            start += size
    return found


def main():
    import torch

    from tests.parity.op_rows import rows, theirs

    results = {key: theirs(case) for key, case in rows().items()}
    save(results, torch.__version__)
    print(f"{len(results)} rows, {PATH.stat().st_size / 1024:.0f} KB: {PATH}")


if __name__ == "__main__":
    main()
