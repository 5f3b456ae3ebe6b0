"""The rows of the benchmark: named once, with work to do, and steps that run; the table that is made of them.

Not here: how fast anything is, and PyTorch's side.
"""

import json

import pytest

from tests.benchmarks import __main__ as benchmark
from tests.benchmarks.__main__ import exponents, missed, table
from tests.benchmarks.rows import rows

ROWS = {row.name: row for row in rows("cpu")}


def test_names_are_told_apart_and_a_gpu_has_the_same_rows_and_one_more():
    assert len(ROWS) == len(rows("cpu"))
    gpu = rows("gpu")
    assert [row.name for row in gpu[1:]] == list(ROWS)
    assert gpu[0].at_least and not any(row.at_least for row in gpu[1:])  # the others' bars are a CPU's


LIGHT = [name for name in ROWS if not name.endswith(("step", "forward", "4096 tokens"))]


@pytest.mark.parametrize("name", LIGHT)
def test_a_step_runs_on_other_inputs_each_time(name):
    step = ROWS[name].minivis("cpu")
    step(0)
    step(1)
    flops, moved = ROWS[name].work()
    assert flops > 0 and moved > 0


def test_the_work_of_a_model_is_three_forward_passes_for_a_step():
    row = ROWS["ViT of width 64, 4 layers, 32 x 32, batch 64, training step"]
    flops, moved = row.work()
    tokens = 64 * 65
    width = 64
    products = 4 * 12 * width * width * tokens + 4 * 2 * 64 * 65 * 65 * width  # of four blocks
    assert 6 * products < flops < 6 * 1.1 * products  # patches and head besides
    assert moved > 0


ROW = {
    "row": "a step",
    "seconds": {"minivis": 0.2, "torch": 0.1, "dezero": 0.4},
    "ratio": 2.0,
    "spread": [1.9, 2.1],
    "peak_bytes": {"minivis": 2**20, "torch": 2**21},
    "at_least": 1.5,
    "aim": 1.0,
    "memory_at_least": 1.2,
    "flops": 1e9,
    "bytes": 1e6,
    "series": None,
}
CONTENT = {"machine": "a machine", "torch": "PyTorch", "gemm_flops": 1e10, "copy_bytes": 1e9, "rows": [ROW]}


def test_the_table_shows_ratio_bar_limit_memory_and_the_other_engine():
    lines = table(CONTENT).splitlines()
    assert (
        "| a step | 200 | 100 | **2.00** (1.90 to 2.10) | 1.5 / 1 | 100 (50%) | 1 / 2 = **0.50** (at least 1.2) |"
        in lines
    )
    assert "| a step | 400 | 200 | 0.50 |" in lines
    alone = {**ROW, "seconds": {"minivis": 1.2345, "torch": 0.1}}
    assert "DeZero" not in table({**CONTENT, "rows": [alone]}) and "| 1,234 |" in table(
        {**CONTENT, "rows": [alone]}
    )


def test_bars_of_time_memory_and_overhead_are_judged():
    assert missed(CONTENT) == ["missed its bar: a step"]
    good = {**ROW, "ratio": 1.5, "peak_bytes": {"minivis": 13, "torch": 10}}
    assert missed({**CONTENT, "rows": [good]}) == ["missed its bar for memory: a step"]
    assert len(missed({**CONTENT, "rows": [], "overhead_us": 3.6})) == 1
    assert missed({**CONTENT, "rows": [], "tests": {"failed": ["FAILED a test"]}}) == ["FAILED a test"]
    assert not missed({**CONTENT, "rows": [{**ROW, "at_least": None}], "overhead_us": 3.4})


def test_growth_is_the_exponent_of_the_size():
    sizes = [64, 256, 1024]
    rows = [
        {**ROW, "series": ["growth", n], "seconds": {"minivis": 3e-6 * n**2, "torch": 2e-3 * n}}
        for n in sizes
    ]
    assert exponents(rows)["growth"] == pytest.approx({"minivis": 2, "torch": 1})
    assert "| growth | 2.00 | 1.00 |" in table({**CONTENT, "rows": rows}).splitlines()
    assert not exponents(rows[:1]) and not exponents([ROW])


def test_every_series_has_sizes_to_fit():
    series = {}
    for row in ROWS.values():
        if row.series:
            series.setdefault(row.series[0], set()).add(row.series[1])
    assert len(series) == 3 and all(len(sizes) == 3 for sizes in series.values())


@pytest.mark.parametrize("name", ["against_pytorch_cpu", "against_pytorch_gpu"])
def test_the_table_is_that_of_what_was_measured(name):
    stem = benchmark.RESULTS / name
    measured = json.loads(stem.with_suffix(".json").read_text(encoding="utf-8"))
    assert table(measured) == stem.with_suffix(".md").read_text(encoding="utf-8")


def test_what_was_measured_is_written_as_numbers_and_as_a_table(tmp_path):
    benchmark.write(CONTENT, tmp_path / "measured")
    assert json.loads((tmp_path / "measured.json").read_text(encoding="utf-8")) == CONTENT
    assert (tmp_path / "measured.md").read_text(encoding="utf-8") == table(CONTENT)
