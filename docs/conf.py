"""The settings of Sphinx for the site that `python tools/site_build.py` builds. Its work: tools/site_pages.py.

The source folder is the root of the repository, so that the README and the other files there are pages as they are, and
each link between files is one between pages.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tools")]

import site_pages  # noqa: E402  # found by the line above

from dregutil import __version__  # noqa: E402

project = "dregutil"
version = release = __version__
language = "en"
smartquotes = False  # '<1.4' is copied, and -- is an option
extensions = ["myst_parser", "sphinx.ext.autodoc"]
root_doc = "docs/index"
_pages = {"docs", "README.md", "CHANGELOG.md", "SECURITY.md"}
exclude_patterns = [one.name for one in ROOT.iterdir() if one.name not in _pages]
suppress_warnings: list[str] = []  # each is an error

myst_heading_anchors = 6
myst_links_external_new_tab = False

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autodoc_inherit_docstrings = True
add_module_names = False
toc_object_entries = False  # 700 names make the side bar unusable
maximum_signature_line_length = 88
python_display_short_literal_types = True
default_role = "py:obj"

html_theme = "furo"
html_title = f"dregutil {__version__}"
html_static_path = ["site"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False
html_last_updated_fmt = None  # the same bytes for the same sources
html_theme_options = {"footer_icons": []}


def setup(app: object) -> None:
    site_pages.connect(app)
