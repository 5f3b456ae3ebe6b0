"""Write tests/parity/fixtures/nn.npz and optim.npz: what torch and transformers give for the rows beside this file.

Run from the repository's root, with the extras dev and parity:  python -m tests.parity.make_nn_fixtures
"""

from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent / "fixtures"
NN, OPTIM = FOLDER / "nn.npz", FOLDER / "optim.npz"


def load(path, key):
    """The stored arrays of one row, by name."""
    with np.load(path, allow_pickle=False) as stored:
        return {n.split("|")[1]: stored[n] for n in stored.files if n.split("|")[0] == key}


def main():
    from tests.parity import nn_rows, optim_rows

    layers = {row.key: nn_rows.theirs(row) for row in nn_rows.ROWS}
    steps = {key: {str(i): x for i, x in enumerate(arrays)} for key, arrays in optim_rows.theirs().items()}
    FOLDER.mkdir(exist_ok=True)
    for path, results in ((NN, layers), (OPTIM, steps)):
        np.savez_compressed(
            path, **{f"{key}|{n}": x for key, found in results.items() for n, x in found.items()}
        )
        print(f"{len(results)} rows, {path.stat().st_size / 1024:.0f} KB: {path}")


if __name__ == "__main__":
    main()
