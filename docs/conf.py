"""Builds the lessons and the documents as static pages (`make site`): no kernel, no scripts from elsewhere."""

import json

from docutils import nodes
from latex2mathml.converter import convert

project = "gooddrag"
copyright = "2026, the gooddrag authors"
extensions = ["myst_nb"]
root_doc = "docs/index"
include_patterns = ["docs/*.md", "notebooks/*.ipynb", "gooddrag/pocket/weights/README.md"]
html_theme = "furo"
html_title = "gooddrag"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_copy_source = False
html_math_renderer = "mathml"
myst_enable_extensions = ["dollarmath", "html_image"]
myst_heading_anchors = 3

nb_ipywidgets_js = {}
nb_execution_mode = "off"  # pages show what the notebooks store
# Without a kernel a widget is the picture that it left in the notebook.
nb_mime_priority_overrides = [("html", "image/gif", 0), ("html", "image/png", 1)]


def prepare_lesson(app, docname, source):
    """Fold the solutions, and give pictures the words that are stored beside them as alternative text."""
    if not source[0].startswith("{"):
        return
    notebook = json.loads(source[0])
    for cell in notebook["cells"]:
        if "solution" in cell["metadata"].get("tags", []):
            cell["metadata"]["tags"].append("hide-cell")
        for data in (output.get("data", {}) for output in cell.get("outputs", [])):
            if any(kind.startswith("image/") for kind in data):
                words = "".join(data["text/plain"]).strip("'\"")
                cell["metadata"].setdefault("mystnb", {})["image"] = {"alt": words}
    source[0] = json.dumps(notebook)


def mathml(display):
    """Formulas as MathML, which browsers draw by themselves."""

    def visit(translator, node):
        translator.body.append(convert(node.astext(), display=display))
        raise nodes.SkipNode

    return visit, None


def setup(app):
    app.connect("source-read", prepare_lesson)
    app.add_html_math_renderer("mathml", mathml("inline"), mathml("block"))
