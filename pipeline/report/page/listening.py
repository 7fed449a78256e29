"""What ``explain`` measured, as a part of the page."""

from __future__ import annotations

from html import escape

from pipeline.report.explaining import pictures, wording
from pipeline.report.explaining.results import Explained
from pipeline.report.html import table_html
from pipeline.report.page.pictures import Gallery


def section(explained: Explained, index: int, gallery: Gallery) -> str:
    """Pictures, tables and plain words of one comparison, the ``index``-th."""
    drawn = "".join(gallery.figure(picture, explained) for picture in pictures.of_explained(explained))
    tables = "".join(table_html(table) for table in wording.tables(explained))
    words = "".join(f"<li>{escape(note)}</li>" for note in wording.notes(explained))
    return (
        f'<section id="explained{index}"><h2>{escape(wording.title(explained))}: output {escape(explained.layer)}</h2>'
        f'<div class="figures">{drawn}</div>{tables}<ul>{words}</ul></section>'
    )
