"""How Sphinx makes the book from the pages that scripts/build_book.py has laid out in build/book/source.

Not here: what stands on the pages; the execution of notebooks (scripts/run_notebooks.py), which is done before.
"""

import importlib.util
from pathlib import Path

import minivis

HERE = Path(__file__).parent
# Its files alone: as an extension it is not parallel-safe.
MATHJAX = importlib.util.find_spec("sphinx-mathjax-offline")

project = "minivis"
author = "The minivis authors"
copyright = "the minivis authors, MIT licence"
release = minivis.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "numpydoc",
    "sphinxcontrib.bibtex",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["CHANGELOG.md", "generated/**"]  # pages include them
nitpicky = True
# Another library's: a build looks up nothing in the network.
nitpick_ignore = [
    ("py:class", "matplotlib.figure.Figure"),
    # bases that no reader makes
    ("py:class", "minivis.models.local_resnet.LocalResNet"),
    ("py:class", "minivis.models.rcnn.Regions"),
    ("py:class", "minivis.recipes.ablations.Seen"),
]
nitpick_ignore_regex = [
    ("py:class", r"minivis\..*\._\w+"),  # a base class that is not public
    ("py:obj", r"\w+"),  # a parameter's name in backticks, which is the name of something else too
]

numfig = True
math_numfig = True
myst_enable_extensions = ["amsmath", "attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
myst_url_schemes = {
    "https": None,
    # To pages of source code: generate/chapters.py writes the one, from a folder below; generate/sources.py the other.
    "source": "../_modules/{{path}}.html",
    "code": "_modules/{{path}}.html#{{fragment}}",
}
nb_execution_mode = "off"  # they have been executed, and a cell that failed has already stopped the build
nb_mime_priority_overrides = [("html", "image/png", 5)]  # a widget needs a kernel: its picture stands for it
nb_ipywidgets_js = {}  # what would otherwise be fetched from the network
bibtex_bibfiles = ["references.bib"]
default_role = "autolink"
autodoc_typehints = "none"
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_validation_checks = set()  # tests/test_docstrings.py is stricter, and quicker
copybutton_exclude = ".linenos, .gp, .go"
copybutton_prompt_text = r">>> |\.\.\. "
copybutton_prompt_is_regexp = True

html_theme = "sphinx_book_theme"
html_title = "minivis"
html_theme_options = {
    "navbar_persistent": [],  # else a second search bar
    "show_navbar_depth": 1,
    "use_download_button": False,
    "use_fullscreen_button": False,
}
html_context = {"default_mode": "auto"}  # light or dark as the system is; the theme asks for a word on it
html_static_path = [str(HERE / "_static"), str(Path(MATHJAX.origin).parent / "static")]
html_css_files = ["book.css"]
mathjax_path = "mathjax/tex-chtml.js"
html_show_search_summary = False  # it would fetch the pages it found, which a browser refuses for files
html_copy_source = False
html_show_sourcelink = False
