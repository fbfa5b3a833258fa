"""How the documentation is built: `python -m sphinx -b html doc doc/_build/html`."""

import re
from pathlib import Path

import skmot

CHANGELOG = Path(__file__).parents[1] / "CHANGELOG.md"

project = "skmot"
author = "the skmot developers"
copyright = author
version = release = skmot.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
# Names in single backticks are code.
default_role = "literal"
templates_path = ["_templates"]
exclude_patterns = ["_build"]

autosummary_generate = True
autodoc_typehints = "none"
toc_object_entries_show_parents = "hide"
# Members come from the class template, each with its whole docstring on the page.
numpydoc_show_class_members = False

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "subsection_order": [
        "../examples/models",
        "../examples/brains",
        "../examples/methods",
    ],
    "reference_url": {"skmot": None},
    "doc_module": ("skmot",),
    "backreferences_dir": None,
    # It needs the models, which are not installed with the documentation.
    "ignore_pattern": r"__init__\.py|make_sentence_encoders\.py",
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "write_computation_times": False,
}

copybutton_prompt_text = r">>> |\.\.\. "
copybutton_prompt_is_regexp = True

html_title = "skmot"
html_logo = "_static/logo.svg"
html_favicon = "_static/favicon.svg"
html_theme = "pydata_sphinx_theme"
html_static_path = ["_static"]
html_css_files = ["skmot.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "header_links_before_dropdown": 4,
    "navigation_with_keys": False,
    "show_prev_next": False,
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version"],
    "secondary_sidebar_items": {"**": ["page-toc"], "index": []},
}
# Only the API has enough pages below it to be listed on the left.
_WITHOUT_SIDEBAR = (
    "index",
    "install",
    "tutorial",
    "which_method",
    "extraction",
    "data",
    "fmri",
    "chance",
    "reporting",
    "coming_from",
    "direction",
    "changelog",
    "auto_examples/**",
    "genindex",
    "search",
)
html_sidebars = {page: [] for page in _WITHOUT_SIDEBAR}


def markdown_to_rst(text):
    """Convert what CHANGELOG.md is written in: headings, lists, code, links."""
    lines = []
    for line in text.splitlines():
        line = re.sub(r"`([^`]+)`", r"``\1``", line)
        line = re.sub(r"\[([^\]]+)\]\((https?://[^)]+)\)", r"`\1 <\2>`__", line)
        heading = re.match(r"(#+) (.*)", line)
        if heading:
            title = heading[2]
            lines += [title, "=-~"[len(heading[1]) - 1] * len(title)]
        else:
            lines.append(line)
    return "\n".join(lines) + "\n"


def include_changelog(app, name, source):
    """Put CHANGELOG.md in the place of the page that stands for it."""
    if name == "changelog":
        app.env.note_dependency(str(CHANGELOG))
        source[0] = markdown_to_rst(CHANGELOG.read_text(encoding="utf-8"))


def setup(app):
    """Connect to Sphinx."""
    app.connect("source-read", include_changelog)
