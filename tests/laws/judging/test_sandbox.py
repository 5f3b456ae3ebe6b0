"""Functions that hang, raise, print, exit or return something strange: a verdict in words, in time, never a traceback.

Not here: wrong numbers (test_mistakes.py).
"""

import gc
import os
import sys
import threading
import time
import warnings

import numpy as np
import pytest

import minivis
from minivis import laws
from minivis.laws.judging import sandbox


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def endless(x, axis=-1):
    while True:
        pass


def swallowing(x, axis=-1):
    while True:
        try:
            time.sleep(0.01)
        except Exception:
            pass


def closure():
    count = [0]

    def f(x, axis=-1):
        while count[0] >= 0:
            count[0] += 1

    return f


def sleeping(x, axis=-1):
    time.sleep(1000)


def only_on_another_axis(x, axis=-1):
    while axis != -1:
        pass
    return softmax(x, axis)


HANGS = {
    "def": endless,
    "lambda": lambda x, axis=-1: [0 for _ in iter(int, 1)],
    "closure": closure(),
    "sleep": sleeping,
    "except Exception": swallowing,
    "one axis": only_on_another_axis,
}


@pytest.mark.parametrize("hang", HANGS.values(), ids=HANGS)
def test_a_hang_is_ended_within_five_seconds(hang):
    start = time.monotonic()
    report = laws.judge("softmax", hang)
    assert time.monotonic() - start < 5
    verdict = next(v for v in report if not v.passed)
    assert "did not come back" in verdict.message
    assert "loop" in verdict.hint
    assert "test_sandbox.py" in verdict.message or hang is HANGS["lambda"]


def test_a_bare_except_does_not_help_a_hang():
    def stubborn(x, axis=-1):
        while True:
            try:
                sum(range(1000))
            except:  # noqa: E722
                pass

    start = time.monotonic()
    assert not laws.judge("softmax", stubborn).passed
    assert time.monotonic() - start < 5


def test_a_hang_is_not_ended_inside_the_garbage_collector_where_the_exception_would_be_lost():
    def slow_callback(phase, info):
        time.sleep(0.01)

    def collecting(x, axis=-1):
        while True:
            gc.collect(0)

    gc.callbacks.append(slow_callback)
    try:  # an exception lost there would be a warning, and warnings are errors
        assert "did not come back" in laws.judge("softmax", collecting)["formula"].message
    finally:
        gc.callbacks.remove(slow_callback)


def test_a_hang_is_ended_outside_the_main_thread_too():
    found = []
    start = time.monotonic()
    thread = threading.Thread(target=lambda: found.append(laws.judge("softmax", endless)))
    thread.start()
    thread.join()
    assert time.monotonic() - start < 5
    assert "did not come back" in found[0]["formula"].message


def test_the_main_thread_gets_its_alarm_back():
    import signal

    if not hasattr(signal, "setitimer"):
        pytest.skip("signals with timers are Unix")
    before = signal.getsignal(signal.SIGALRM)
    laws.judge("softmax", endless)
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a worker process of a lambda needs fork")
def test_a_worker_process_is_ended():
    start = time.monotonic()
    report = laws.judge_apart("softmax", endless, seconds=1)
    assert time.monotonic() - start < 3
    assert not report.passed and "was ended" in report["formula"].message
    assert laws.judge_apart("softmax", softmax).passed
    report = laws.judge_apart("softmax", lambda x, axis=-1: os._exit(0))
    assert "ended the whole Python process" in report["formula"].message


def raising(x, axis=-1):
    return x / np.zeros((2, 2))[x.shape]


@pytest.mark.parametrize(
    ("function", "message", "hint"),
    [
        (raising, "IndexError", "index"),
        (lambda x, axis=-1: 1 / 0, "ZeroDivisionError", ""),
        (lambda x, axis=-1: sys.exit(), "sys.exit", "do not end"),
        (lambda x: softmax(x), "unexpected keyword argument 'axis'", "call form"),
        (lambda x, axis=-1: None, "None", "return"),
        (lambda x, axis=-1: softmax(x, axis).tolist(), "a list of 2", "NumPy array"),
        (lambda x, axis=-1: (softmax(x, axis), lambda g: g), "a tuple of 2", "vjp=True"),
        (lambda x, axis=-1: softmax(x, axis).astype(object), "array of object", "NumPy array"),
        (lambda x, axis=-1: softmax(x, axis) + 0j, "array of complex", "NumPy array"),
        (lambda x, axis=-1: softmax(x, axis).sum(axis=axis), "shape (2,); (2, 2) was expected", ""),
        (lambda x, axis=-1: input("x?"), "EOFError", "input()"),
        (lambda x, axis=-1: undefined_name, "NameError", "misspelt"),  # noqa: F821
        (lambda x, axis=-1: np.exp(x) / np.exp(x).sum(axis=axis), "", ""),
    ],
)
def test_a_mishap_is_put_into_words(function, message, hint):
    verdict = next(v for v in laws.judge("softmax", function) if not v.passed)
    assert message in verdict.message
    assert hint in verdict.hint
    assert "Traceback" not in verdict.message


def test_the_learners_own_line_is_shown():
    message = laws.judge("softmax", raising)["formula"].message
    assert "test_sandbox.py" in message and "return x / np.zeros((2, 2))[x.shape]" in message


def test_dots_in_what_is_quoted_stay():
    def dotted(x, axis=-1):
        return x[..., 5, 5, 5]

    assert "`return x[..., 5, 5, 5]`)." in laws.judge("softmax", dotted)["formula"].message

    def complains(x, axis=-1):
        raise ValueError("no such file: ../weights ...")

    assert "no such file: ../weights ... (line" in laws.judge("softmax", complains)["formula"].message


def test_a_message_ends_with_one_full_stop():
    namespace = {}
    for words, ending in (("no", "no."), ("no.", "no."), ("and so on...", "and so on..."), ("why?", "why?")):
        exec(
            compile(f"def f(x, axis=-1): raise ValueError({words!r})", minivis.laws.__file__, "exec"),
            namespace,
        )
        message = laws.judge("softmax", namespace["f"])["formula"].message  # no line of the learner's to show
        assert message == f"Your function raised a ValueError: {ending}"


def test_printing_is_swallowed_and_reported(capsys):
    def talks(x, axis=-1):
        print("here", x.shape)
        return softmax(x, axis)

    report = laws.judge("softmax", talks)
    assert [v.name for v in report if not v.passed] == ["quiet"]
    assert "here (2, 2)" in report["quiet"].message
    assert capsys.readouterr().out == ""


def test_ctrl_c_passes_through():
    def interrupted(x, axis=-1):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        laws.judge("softmax", interrupted)


def test_the_verdict_is_the_same_every_time():
    def wrong(x, axis=-1):
        return softmax(x, axis) * (1.0 if x.shape[0] < 4 else 1.1)

    first, second = str(laws.judge("softmax", wrong)), str(laws.judge("softmax", wrong))
    assert first == second


def test_a_moody_function_gets_a_verdict():
    turn = iter(range(10**9))
    report = laws.judge("softmax", lambda x, axis=-1: softmax(x, axis) * (next(turn) % 2))
    assert not report.passed and not report["same again"].passed


def test_nothing_is_left_in_the_folder_and_nothing_warns(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = laws.judge("softmax", lambda x, axis=-1: np.exp(x) / np.exp(x).sum(axis=axis, keepdims=True))
    assert not report.passed
    assert list(tmp_path.iterdir()) == []


def test_the_report_reads_well(capsys):
    report = laws.check("softmax", lambda x, axis=-1: np.exp(x) / np.exp(x).sum(axis=axis, keepdims=True))
    page = capsys.readouterr().out
    assert page.startswith("softmax: 11 of 13 laws hold\n")
    for part in (
        "✓ formula",
        "✗ large logits",
        "x (2, 2) =",
        "expected (2, 2) =",
        "got (2, 2) =",
        "nan",
        "Hint: ",
    ):
        assert part in page
    assert max(map(len, page.splitlines())) <= 100
    assert repr(report) == "<softmax: 11 of 13 laws hold>"
    assert not report and len(report) == 13 and report[0].name == "formula"


def test_a_narrow_terminal_gets_plain_signs(tmp_path):
    report = laws.judge("softmax", softmax)
    with open(tmp_path / "page", "w", encoding="ascii") as file:
        report.print(file)
    assert "+ formula" in (tmp_path / "page").read_text()


def test_what_check_refuses():
    with pytest.raises(ValueError, match="did you mean 'softmax'"):
        laws.check("sofmax", softmax)
    with pytest.raises(TypeError, match="not a function"):
        laws.check("softmax", softmax(np.ones(2)))
    with pytest.raises(ValueError, match="no laws about gradients"):
        laws.check("sine_position_code", softmax, vjp=True)


def test_with_vjp_the_pair_is_asked_for():
    verdict = laws.judge("softmax", softmax, vjp=True)["formula"]
    assert "the pair (out, vjp)" in verdict.message
    report = laws.judge("softmax", lambda x, axis=-1: (softmax(x, axis), lambda g: g), vjp=True)
    assert "returns a tuple" in report["gradient of x"].message
    report = laws.judge("softmax", lambda x, axis=-1: (softmax(x, axis), lambda g: (g.sum(),)), vjp=True)
    assert "has shape ()" in report["gradient of x"].message


def test_one_mishap_is_told_once():
    report = laws.judge("softmax", lambda x, axis=-1: None)
    assert str(report).count("The smallest call that breaks it") == 1
    assert "✗ likewise: any axis, " in str(report)


def test_what_is_printed_for_ever_fills_no_memory():
    with sandbox.Alarm() as alarm:
        result, printed = sandbox.call_safely(
            lambda: [print("x" * 10**6) for _ in range(50)], (), {}, alarm, 20
        )
    assert len(result) == 50 and printed == "x" * 100_000
