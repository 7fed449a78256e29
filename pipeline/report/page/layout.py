"""The page's HTML, from top to bottom."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from pipeline.plurals import many, plural
from pipeline.report.explaining.results import Explained
from pipeline.report.html import table_html
from pipeline.report.kept import Kept
from pipeline.report.page import (
    gathering,
    listening,
    measuring,
    naming,
    pictures,
    ran,
    shipping,
)
from pipeline.report.page.gathering import (
    Confused,
    Entry,
    Runs,
    Sounds,
)
from pipeline.report.page.pictures import Embeddings, Gallery
from pipeline.report.page.shipping import Shipped
from pipeline.report.page.style import style
from pipeline.report.plots import Picture
from pipeline.report.plots.picture import STAMP
from pipeline.report.table import Document, number

ICON = "data:,"
"""An empty icon: browsers otherwise look for one."""

BANNER = f"{STAMP}: made-up sounds of the built-in corpus. These figures say nothing about real sounds."


def page(
    paper: Document,
    tables: Sequence[Runs],
    gallery: Gallery,
    embeddings: Embeddings | None,
    sounds: Sounds,
    explained: Sequence[Explained] = (),
    measured: Sequence[Kept] = (),
    shipped: Sequence[Shipped] = (),
) -> str:
    """The whole document; draws and saves its pictures on the way."""
    body = [f"<header><h1>{escape(paper.title)}</h1>"]
    if gallery.look.synthetic:
        body.append(f'<p class="banner">{escape(BANNER)}</p>')
    body.append(contents(tables, explained, measured, shipped))
    body.append("</header><main>")
    for index, section in enumerate(paper.sections, 1):
        body.append(f'<section id="table{index}"><h2>{escape(section.title)}</h2>')
        body += [table_html(one) for one in section.tables]
        if index > len(tables):  # rows of experiments, behind those of teachers and students
            body.append("</section>")
            continue
        table = tables[index - 1]
        body.append(row_of([gallery.figure(p, table) for p in pictures.overview(table, gallery.look)]))
        body += mixes(table, index, gallery, embeddings, sounds)
        body += what_ran(table, index)
        body.append("</section>")
    body += [measuring.section(one, index, gallery) for index, one in enumerate(measured, 1)]
    body.append(shipping.section(shipped))
    body += [listening.section(one, index, gallery) for index, one in enumerate(explained, 1)]
    body.append('<section id="notes"><h2>Notes</h2><ul>')
    body += [f"<li>{escape(note)}</li>" for note in paper.notes]
    body.append(f"</ul></section></main>{footer(sounds)}")
    return gallery.filled("\n".join([head(paper.title), *body, "</body></html>"]) + "\n")


def head(title: str) -> str:
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<title>{escape(title)}</title><link rel="icon" href="{ICON}"><style>\n{style()}</style></head><body>'
    )


def contents(
    tables: Sequence[Runs],
    explained: Sequence[Explained] = (),
    measured: Sequence[Kept] = (),
    shipped: Sequence[Shipped] = (),
) -> str:
    """Links to a page's parts; of several tables a line each, which says what it is of."""
    lines = []
    for index, name in enumerate(naming.labels(tables), 1):
        parts = [("table", "Table"), ("mixes", "Each mix"), ("ran", "What ran")]
        links = "".join(f'<a href="#{part}{index}">{text}</a>' for part, text in parts)
        of = f'<span class="of">{escape(name)}</span>' if len(tables) > 1 else ""
        lines.append(f"<div>{of}{links}</div>")
    lines += [
        f'<div><a href="#measured{i}">{escape(measuring.title(one))}</a></div>' for i, one in enumerate(measured, 1)
    ]
    lines += [f'<div><a href="#{shipping.ID}">{escape(shipping.TITLE)}</a></div>'] if shipped else []
    lines += [f'<div><a href="#explained{i}">What networks listen to</a></div>' for i in range(1, len(explained) + 1)]
    files = "".join(f'<a href="table.{end}">table.{end}</a>' for end in ("md", "csv", "tex"))
    return f'<nav>{"".join(lines)}<div><a href="#notes">Notes</a>{files}</div></nav>'


def footer(sounds: Sounds) -> str:
    heard = (
        "The players read the clips from where the corpus lies, by a path relative to this page; the sounds are not in the "
        "page. Some browsers do not play every kind of WAV."
    )
    silent = "No sound files of the corpus were at hand, so there is no player."
    return (
        '<footer class="muted"><p>This page holds its tables and pictures itself, has no script and asks nothing of a '
        "network. The files behind the pictures (PNG, SVG, CSV) lie beside it in pictures/. "
        f"{heard if sounds.files else silent}</p></footer>"
    )


def row_of(html: Sequence[str]) -> str:
    return f'<div class="figures">{"".join(html)}</div>' if html else ""


def mixes(table: Runs, index: int, gallery: Gallery, embeddings: Embeddings | None, sounds: Sounds) -> list[str]:
    """A part a mix that opens and closes; the first student's stands open."""
    body = [f'<h2 id="mixes{index}">Each mix</h2>']
    teacher, look = table.teacher, gallery.look
    fold = pictures.shown_fold(table)
    embedded = {e.name: pictures.embedded(e, fold, embeddings, look) for e in table.entries if fold is not None}
    opened = next((e for e in table.entries if e.row.is_student), table.entries[0])
    for entry in table.entries:
        shown_pictures: list[Picture | str] = [*pictures.curves(entry, look), *pictures.by_class(entry, teacher, look)]
        if embedded:
            # A student's beside its teacher's; one reason why there is none is said once.
            pair = dict.fromkeys(e.name for e in (teacher, entry) if e)
            shown_pictures += dict.fromkeys(embedded[name] for name in pair)
        parts = [row_of([shown(one, table, gallery) for one in shown_pictures])]
        parts.append(clips(entry, sounds))
        summary = f'{escape(entry.name)} <span class="muted">{escape(standing(entry))}</span>'
        state = " open" if entry is opened else ""
        body.append(f"<details{state}><summary>{summary}</summary>{uncounted(entry)}{''.join(parts)}</details>")
    return body


def standing(entry: Entry) -> str:
    """A mix' mean and runs in a few words; where it has no mean, why."""
    row, count = entry.row, f"{many(len(entry.records), 'run')}"
    if row.spread:
        return f"{number(row.spread.mean)} %, {count}"
    if row.outputs_untrained:
        return f"{count}, no accuracy: nothing in the mix trains the outputs"
    return f"{count}, no accuracy: all stopped"


def uncounted(entry: Entry) -> str:
    if entry.damaged:
        return (
            f'<p class="note">Without the predictions of {escape(", ".join(entry.damaged))}, which are damaged: what is drawn of '
            "clips and classes is of the other runs (audio-rkd check).</p>"
        )
    if entry.counted:
        return ""
    if entry.row.outputs_untrained:
        return (
            '<p class="note">Nothing in this mix trains the outputs, so they name classes by chance: retrieval measures its '
            "embedding. The curves are of all its runs.</p>"
        )
    return '<p class="note">Every run of this mix stopped, for something was not finite: the curves end there.</p>'


def shown(picture: Picture | str, table: Runs, gallery: Gallery) -> str:
    """A figure; or the reason why there is none."""
    return gallery.figure(picture, table) if isinstance(picture, Picture) else f'<p class="note">{escape(picture)}</p>'


def clips(entry: Entry, sounds: Sounds) -> str:
    """The clips most confused: what they were taken for, where they lie, and a player where the file is."""
    if not entry.predictions:
        return ""
    if entry.several:
        return '<p class="note">No confusions: these clips have several labels each, and none is taken for another.</p>'
    confusions = gathering.confused(entry.predictions)
    if not confusions:
        return '<h3>Most confused clips</h3><p class="note">None: every run got every clip right.</p>'
    classes = gathering.class_names(entry, next(iter(entry.predictions.values())).logits.shape[1])
    rows = "".join(clip_row(confusion, classes, sounds) for confusion in confusions)
    note = (
        "Smallest mean probability of the label, over the runs that held the clip out; clips that no run got wrong are "
        "left out."
    )
    heads = "".join(
        f'<th scope="col" class="l">{name}</th>'
        for name in ("Clip", "Label", "Taken for", "Probability:\nlabel, taken for", "Wrong in", "Listen")
    )
    return (
        f'<h3>Most confused clips</h3><p class="note">{note}</p><div class="scroll clips" tabindex="0"><table><thead>'
        f"<tr>{heads}</tr></thead><tbody>\n{rows}</tbody></table></div>"
    )


def clip_row(confusion: Confused, classes: Sequence[str], sounds: Sounds) -> str:
    path, source = sounds.path(confusion.clip), sounds.source(confusion.clip)
    where = f'<br><span class="path muted">{escape(path.parent.as_posix())}/</span>' if path else ""
    if source:
        sound = f'<audio controls preload="none" src="{escape(source, quote=True)}"></audio>'
    else:
        sound = '<span class="muted">file not here</span>'
    cells = (
        ("", f"{escape(confusion.clip)}{where}"),
        ("Label", escape(classes[confusion.label])),
        ("Taken for", escape(classes[confusion.taken_for])),
        ("Probability: label, taken for", f"{confusion.p_label:.2f}, {confusion.p_taken:.2f}"),
        ("Wrong in", f"{confusion.wrong} of {confusion.runs} {plural(confusion.runs, 'run')}"),
        ("", sound),
    )
    return (
        "<tr>"
        + "".join(
            f'<td class="l"{f" data-name={chr(34)}{name}{chr(34)}" if name else ""}>{cell}</td>' for name, cell in cells
        )
        + "</tr>\n"
    )


def what_ran(table: Runs, index: int) -> list[str]:
    """Runs, versions and machines; settings and single runs folded away."""
    key = table.key
    return [
        f'<h2 id="ran{index}">What ran</h2>',
        f"<p>Preset <b>{escape(key.preset)}</b>, digest of the settings <code>{escape(key.digest)}</code>, of the data "
        f"<code>{escape(key.data)}</code>.</p>",
        table_html(ran.runs_table(table)),
        table_html(ran.environment_table(table)),
        f"<details><summary>Settings</summary>{table_html(ran.settings_table(table))}{table_html(ran.feature_table(table))}</details>",
        f"<details><summary>Every run</summary>{table_html(ran.run_list(table))}</details>",
    ]
