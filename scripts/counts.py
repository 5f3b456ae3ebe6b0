"""Counts in sentences of the README and the book: `python scripts/counts.py` counts them again and writes them.

Not here: measurements (`make bench` writes its own table, with the number of tests).
"""

import gzip
import json
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # `tests` is a folder, not a package that is installed

from minivis.storage import write_files  # noqa: E402 (found through the line above)
from tests.parity.op_rows import rows  # noqa: E402

WORDS = (
    "no",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
)


def result(name):
    """The results of a benchmark."""
    return json.loads(
        (ROOT / "tests" / "benchmarks" / "results" / f"{name}.json").read_text(encoding="utf-8")
    )


def in_words(number):
    """A number as it is written in a sentence: small ones as words."""
    return WORDS[number] if number < len(WORDS) else str(number)


def counts():
    """{sentence with `#` where the number stands: the number}, as text."""
    with gzip.open(ROOT / "tests" / "pretrained" / "published_names.json.gz") as file:
        published = len(json.load(file))
    slides = tomllib.loads((ROOT / "notebooks" / "slides.toml").read_text(encoding="utf-8"))["slide"]
    assignments = len(list((ROOT / "minivis" / "classroom" / "assignments").glob("*.ipynb")))
    alone = result("engine_overhead")["rows"][-1]["numpy_us"]
    largest = result("against_pytorch_gpu")["rows"][0]
    ratios = {row["row"]: f"{row['ratio']:.2f}" for row in result("against_pytorch_cpu")["rows"]}
    return {
        "| # configurations, within 1e-11": f"{len(rows()):,}",
        "names and shapes of # published checkpoints": str(published),
        "| # microseconds an op, forward and backward": f"{result('engine_overhead')['overhead_us']:.1f}",
        "beside # of NumPy itself": f"{alone:.1f}",
        "PyTorch 2.11 | # times its time": f"{largest['ratio']:.2f}",
        "of ViT-Ti/16 takes # times as long": ratios["ViT-Ti/16, 224 x 224, batch 8, training step"],
        "one of ResNet-18 # times": ratios["ResNet-18, 64 x 64, batch 16, training step"],
        "a forward pass of DETR-R50 # times": ratios["DETR-R50, 480 x 640, forward"],
        "# university lecture decks": in_words(len({slide["deck"] for slide in slides})),
        ": # lecture decks, slide by slide": in_words(len({slide["deck"] for slide in slides})),
        "hands out # assignments": in_words(assignments),
        "minivis brings # assignments": in_words(assignments),
        "has # assignments that one command": in_words(assignments),
        "For a grade there are # assignments": in_words(assignments),
        "`): # assignments to hand out": in_words(assignments),
    }


def pages():
    """The files that contain counts."""
    return [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "book").glob("*.md"))]


def rewritten(text, found):
    """A text with every count in it corrected; the sentences that it contains are added to ``found``."""
    for sentence, number in counts().items():
        before, after = (re.escape(part).replace(r"\ ", r"\s+") for part in sentence.split("#"))
        text, times = re.subn(f"({before})([\\w.,]+?)({after})", rf"\g<1>{number}\g<3>", text)
        if times:
            found.add(sentence)
    return text


def main():
    """Write every count and print the changed files; returns 1 if a sentence is in no file."""
    found = set()
    changed = {}
    for path in pages():
        text = path.read_text(encoding="utf-8")
        new = rewritten(text, found)
        if new != text:
            changed[path] = new.encode()
            print(f"wrote {path}")
    write_files(changed)
    lost = sorted(set(counts()) - found)
    print(*(f"no page says: {sentence}" for sentence in lost), sep="\n", end="\n" if lost else "")
    return int(bool(lost))


if __name__ == "__main__":
    sys.exit(main())
