"""Write tests/parity/fixtures/losses.npz: what transformers gives for the rows of loss_rows.py.

Run from the repository's root, with the extras dev and parity (torch 2.13.0, transformers 4.57.6):
python -m tests.parity.make_loss_fixtures
"""

import numpy as np

from tests.parity.make_nn_fixtures import FOLDER

LOSSES = FOLDER / "losses.npz"


def main():
    from tests.parity import loss_rows

    results = {row.key: loss_rows.theirs(row) for row in loss_rows.ROWS}
    np.savez_compressed(
        LOSSES, **{f"{key}|{n}": x for key, found in results.items() for n, x in found.items()}
    )
    print(f"{len(results)} rows, {LOSSES.stat().st_size / 1024:.0f} KB: {LOSSES}")


if __name__ == "__main__":
    main()
