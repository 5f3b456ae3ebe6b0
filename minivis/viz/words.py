"""Words: texts in which some words are marked, and the probabilities of what fits in the place of a hidden word.

Not here: the network that predicts them (models/bert.py), tokens of pictures.
"""

import textwrap

import numpy as np

from minivis.viz.style import BLUE, COLOURS, INK, LITERAL, ORANGE, array, blank, figure, ink_on, label, legend

__all__ = ["hidden_words", "marked_words"]


def hidden_words(
    texts,
    probabilities,
    words,
    right=None,
    fitting=None,
    top=8,
    columns=3,
    width=8.6,
    title=None,
    caption=None,
):
    """Draw, for each hidden word, the most probable words as bars.

    Parameters
    ----------
    texts : list of str
        For each hidden word the text that is written above its bars.
    probabilities : array_like, shape (n, V)
        For each hidden word the probabilities of all words, 0 to 1.
    words : sequence of str
        The V words.
    right : list of str, optional
        For each hidden word what stood there; its name is bold.
    fitting : list of sequence of str, optional
        For each hidden word the words that would be right; the bars of all others are hatched.
    top : int, default 8
        Number of bars in a panel.
    columns : int, default 3
        Number of panels in a row.
    width : float, default 8.6
        Inches.
    title, caption : str, optional
        Above and below.

    Returns
    -------
    Figure
        To be shown.

    Raises
    ------
    ValueError
        If the numbers of texts, rows and words do not fit together.

    Examples
    --------
    >>> fig = hidden_words(["a [MASK] ring"], [[0.25, 0.75]], ["red", "blue"])
    >>> [text.get_text() for text in fig.axes[0].get_yticklabels()]
    ['blue', 'red']
    """
    probabilities = array(probabilities, "probabilities")
    if probabilities.shape != (len(texts), len(words)) or not len(texts):
        raise ValueError(
            f"hidden_words: there are {len(texts)} texts and {len(words)} words (probabilities: {probabilities.shape})"
        )
    columns = min(columns, len(texts))
    rows = -(-len(texts) // columns)
    top = min(top, len(words))
    fig, axes = figure(rows, columns, width, rows * (0.9 + 0.2 * top), title, caption, sharex=True)
    for number, ax in enumerate(axes.flat):
        if number >= len(texts):
            ax.set_axis_off()
            continue
        p = probabilities[number]
        order = np.argsort(-p, kind="stable")[:top]
        fits = [fitting is None or words[i] in fitting[number] for i in order]
        for at, (i, good) in enumerate(zip(order, fits, strict=True)):
            look = {"color": BLUE} if good else {"color": ORANGE, "hatch": "//", "edgecolor": "white"}
            ax.barh(at, p[i], 0.75, linewidth=0, **look)
        ax.set_yticks(range(top), [words[i] for i in order], **LITERAL)
        for name in ax.get_yticklabels() if right else ():
            name.set_fontweight("bold" if name.get_text() == right[number] else "normal")
        ax.set_ylim(top - 0.4, -0.6)
        ax.set_xlim(0, 1)
        text = "\n".join(textwrap.wrap(texts[number], int(width * 14 / columns) - 6))
        label(ax, "probability" if number + columns >= len(texts) else "", "word" * (number % columns == 0))
        ax.set_title(text, fontsize=8.5, color=INK, loc="left", **LITERAL)
    return fig


def marked_words(lines, marks, names, width=8.6, title=None, caption=None):
    """Draw lines of words as boxes, with a colour for each kind of word.

    Parameters
    ----------
    lines : dict of str to list of str
        Name of a line to its words. Words with the same number stand below one another.
    marks : list of int
        For each place 0, or which of ``names`` it is, counted from 1; the same for all lines.
    names : list of str
        What the marks mean, for the legend.
    width : float, default 8.6
        Inches.
    title, caption : str, optional
        Above and below.

    Returns
    -------
    Figure
        To be shown.

    Raises
    ------
    ValueError
        If a line has another number of words than there are marks.

    Examples
    --------
    >>> fig = marked_words({"text": ["a", "ring"], "input": ["a", "[MASK]"]}, [0, 1], ["hidden"])
    >>> len(fig.axes[0].texts)
    4
    """
    marks = list(marks)
    if not lines or any(len(words) != len(marks) for words in lines.values()):
        raise ValueError(
            f"marked_words: every line needs {len(marks)} words, one for each mark; there are "
            f"{[len(words) for words in lines.values()]}"
        )
    fig, axes = figure(1, 1, width, 0.5 + 0.42 * len(lines), title, caption)
    ax = axes[0, 0]
    # a box is as wide as the longest word in its place
    widths = [max(len(line[i]) for line in lines.values()) + 2.2 for i in range(len(marks))]
    left = np.concatenate([[0], np.cumsum(widths)])
    size = min(9.0, width * 98 / left[-1])
    for row, words in enumerate(lines.values()):
        for i, word in enumerate(words):
            colour = COLOURS[marks[i] - 1] if marks[i] else "#f0f0f0"
            ax.barh(-row, widths[i] - 0.4, 0.8, left=left[i], color=colour, linewidth=0)
            middle = left[i] + widths[i] / 2 - 0.2
            ink = ink_on(colour) if marks[i] else INK
            ax.text(middle, -row, word, ha="center", va="center", fontsize=size, color=ink, **LITERAL)
    for number, name in enumerate(names):
        ax.barh([0], [0], color=COLOURS[number], label=name)
    blank(ax)
    ax.set_yticks([-row for row in range(len(lines))], list(lines), **LITERAL)
    ax.tick_params(length=0)
    ax.set_xlim(0, left[-1])
    ax.set_ylim(0.5 - len(lines), 0.5)
    legend(ax, fontsize=8, ncols=len(names), loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return fig
