"""The report on many results: the table of all, and the paper's figures that can be drawn from them."""

from __future__ import annotations

import html
import itertools
import warnings
from collections.abc import Iterator, Sequence

from diptych.progress import say
from diptych.report import adapting, findings, grids, matching, paper_figures, shift_table, tables
from diptych.report.cells import count
from diptych.report.choosing import best, models
from diptych.report.collected import Entry
from diptych.report.contents import Figure, Figures, Page
from diptych.report.drawable import Drawing, Family
from diptych.report.drawing import as_pdf, as_svg, inline
from diptych.report.shift import Shift

NATURAL = Shift()
MOST = 12  # models of which each has a figure, or a line in one


def page(
    entries: Sequence[Entry],
    drawings: Sequence[Drawing],
    under_shift: Shift = NATURAL,
    *,
    reference: str | None = None,
) -> Page:
    """The page of a report. ``reference``: the model with which the others are compared."""
    data = {(entry.result.dataset, entry.images) for entry in entries}
    known = f"{count(len(models(entries)), 'model')} on {count(len(data), 'data set')}"
    most = best(entries, MOST, besides=reference)
    more = (
        grids.retrieval(entries),
        grids.prompts(entries),
        grids.pairs(most, reference),
        grids.recalls(most, reference),
        shift_table.grid(_counted(entries), under_shift),
        adapting.grid(_counted(entries), under_shift),
    )
    return Page(
        title="Evaluation",
        lead=f"{known}, {count(len(entries), 'result')}.{_of_many(entries)}",
        grids=(*tables.results(entries), *(grid for grid in more if grid)),
        figures=tuple(_families(drawings)),
        facts=_facts(entries),
    )


def _families(drawings: Sequence[Drawing]) -> Iterator[Figures]:
    """Drawings of one kind under one heading; one alone under its own."""
    for family, group in itertools.groupby(drawings, key=lambda drawing: drawing.family or drawing.name):
        own = list(group)
        svgs = [inline(one.draw, one.size, prefix=one.name, alt=html.escape(one.alt)) for one in own]
        if isinstance(family, Family) and len(own) > 1:
            drawn = (Figure(svg, one.of, one.note) for svg, one in zip(svgs, own, strict=True))
            yield Figures(family.title, tuple(drawn), family.note)
        else:
            yield from (Figures(one.title, (Figure(svg),), one.about) for svg, one in zip(svgs, own, strict=True))


def files(drawings: Sequence[Drawing]) -> Iterator[tuple[str, bytes]]:
    """Each drawing as an SVG and as a PDF file of its own, with their names. Says where the PDFs lack letters."""
    lacking = False
    for drawing in drawings:
        yield (
            f"{drawing.name}.svg",
            as_svg(drawing.draw, drawing.size, title=drawing.title, note=drawing.about).encode(),
        )
        with warnings.catch_warnings(record=True) as caught:
            warnings.filterwarnings("always", message="Glyph .* missing from font")
            pdf = as_pdf(drawing.draw, drawing.size, title=drawing.title, note=drawing.about)
        lacking |= any("missing from font" in str(one.message) for one in caught)
        yield f"{drawing.name}.pdf", pdf
    if lacking:
        say("the PDF figures lack letters of some names, which their font has not; the SVG figures do not")


def drawings(entries: Sequence[Entry], under_shift: Shift = NATURAL) -> list[Drawing]:
    """All that these results allow. Of many models, figures with a part for each are of those that are best."""
    most = best(entries, MOST)
    return [
        *paper_figures.under_shift(entries, under_shift),
        *paper_figures.differences(most),
        *paper_figures.few_shot(most),
        *paper_figures.shots_to_match(most),
        *paper_figures.against(entries),
        *paper_figures.compute(entries),
        *paper_figures.scaling(entries),
        *paper_figures.reliability(most),
    ]


def _counted(entries: Sequence[Entry]) -> list[Entry]:
    """Without those that do not say how many images they are of, such as CLIP_benchmark's."""
    return [entry for entry in entries if entry.result.samples]


def _of_many(entries: Sequence[Entry]) -> str:
    """That not all models are in all figures, where that is so."""
    if len(models(entries)) <= MOST:
        return ""
    return (
        f" Figures with a part for each model, and the comparisons of two, are of the {MOST} that are most often ahead "
        "of others; give fewer results for the rest."
    )


def _facts(entries: Sequence[Entry]) -> dict[str, str]:
    results = [entry.result for entry in entries]
    precisions = dict.fromkeys(result.precision for result in results)
    backends = dict.fromkeys(result.backend for result in results if result.backend)
    facts = {"precision": ", ".join(precisions), "computed by": ", ".join(backends) or "not noted"}
    known = findings.answers(best(entries, MOST))
    zero_shot = [entry for entry in best(entries, MOST) if entry.task == findings.ZERO_SHOT]
    if without := [model for model in models(zero_shot) if model not in known]:
        facts["no reliability figure"] = (
            f"{', '.join(without)}: of no zero-shot answer on clear data was the confidence kept"
        )
    matches = matching.examples_to_match(best(entries, MOST))
    if without := [model for model in matches.guessed if model not in matches.bars]:
        facts["no examples to match zero-shot"] = (
            f"{', '.join(without)}: its zero-shot is not shown to be better than chance"
        )
    return facts
