"""The family tree of a population as text for other programs: ALife standard, Newick and Graphviz.

A segment is an organism; the one that it started from is its only parent. Names of a record may hold
anything: each writer quotes them for its format.
"""

import csv
import io
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress

from popgrad.core.errors import AllMembersFailedError
from popgrad.core.population import SegmentId
from popgrad.core.segment import Segment
from popgrad.record.plain_table import value_text
from popgrad.record.record import Record
from popgrad.reports.escape import escape
from popgrad.reports.tables import headings

_ALIFE = (
    *("id", "ancestor_list", "origin_time", "destruction_time", "taxon_label"),
    *("member", "interval", "steps", "score", "status", "copied"),
)
"""Columns of the ALife standard, and then ours; the hyperparameters and the role follow."""


def label(segment: SegmentId) -> str:
    """Return the name of a segment in a tree: "m3i5" is interval 5 of member 3.

    It has letters and digits only, so that no format needs to quote it.
    """
    return f"m{segment[0]}i{segment[1]}"


def alife(record: Record) -> str:
    """Return the tree as CSV in the ALife phylogeny data standard, a row for each segment.

    Columns: id (number of the segment, from 0), ancestor_list ("[none]" = it started fresh),
    origin_time and destruction_time (training steps at its start and at its end; "inf" = the state
    is that of a present member), taxon_label, member, interval, steps, score (higher is better; nan =
    failed), status, copied (1 = it started from a donor's state), every hyperparameter, and role. A
    hyperparameter with the name of another column is headed "hparams.<name>". Line breaks and
    control characters in a string are escaped.

    Args:
        record: Record of a run.
    """
    numbers = {segment.id: number for number, segment in enumerate(record.segments)}
    present = {segment.id for segment in record.last.values()}
    columns = headings(record.space, [*_ALIFE, "role"])
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_ALIFE, *columns.values(), "role"])
    for segment in record.segments:
        parent = "none" if segment.source is None else numbers[segment.source]
        cells = (
            *(numbers[segment.id], f"[{parent}]", segment.first_step),
            "inf" if segment.id in present else segment.last_step,
            *(label(segment.id), segment.member, segment.interval, segment.steps),
            *(segment.score, segment.status, int(segment.id in record.copied)),
        )
        values = [_cell(segment.hparams[name]) for name in columns]
        writer.writerow([*cells, *values, _cell(segment.role)])
    return text.getvalue()


def _cell(value: object) -> object:
    """Return a value for a cell: readers of phylogenies split a file at its line breaks."""
    return _one_line(value) if isinstance(value, str) else value


def _one_line(text: str) -> str:
    """Return a string without line breaks and characters that would command a terminal."""
    return escape(text).replace("\n", "\\n")


# --- Newick ---------------------------------------------------------------------------------------


def newick(record: Record) -> str:
    """Return the tree in the Newick format, with branch lengths in training steps.

    A node stands for a stretch of training that no branch divides, and is named for its last
    segment: leaves are the ends of branches, also of extinct ones. Several founders hang on one node
    "founders" at step 0, which nothing has trained.

    Args:
        record: Record with at least one segment.
    """
    children = _children(record.segments)
    texts: dict[SegmentId, str] = {}
    # Descendants have later intervals than the segments they hang on, or were trained after them.
    for end, length in reversed(_stretches(record.segments, children)):
        inner = ",".join(texts.pop(_end(child, children)) for child in children.get(end, ()))
        texts[end] = f"({inner}){label(end)}:{length}" if inner else f"{label(end)}:{length}"

    roots = list(texts.values())
    whole = roots[0] if len(roots) == 1 else f"({','.join(reversed(roots))})founders"
    return f"{whole};\n"


Children = Mapping[SegmentId, Sequence[SegmentId]]
"""Segments that started from a segment, in the order of the record."""


def _children(segments: Sequence[Segment]) -> dict[SegmentId, list[SegmentId]]:
    children: dict[SegmentId, list[SegmentId]] = {}
    for segment in segments:
        if segment.source is not None:
            children.setdefault(segment.source, []).append(segment.id)
    return children


def _end(segment: SegmentId, children: Children) -> SegmentId:
    """Return the last segment of a stretch: the next that has no child, or several."""
    while len(children.get(segment, ())) == 1:
        (segment,) = children[segment]
    return segment


def _stretches(segments: Sequence[Segment], children: Children) -> list[tuple[SegmentId, int]]:
    """Return (last segment, training steps) of each stretch, each after the one that it hangs on."""
    by_id = {segment.id: segment for segment in segments}
    waiting = [segment.id for segment in segments if segment.source is None]
    found: list[tuple[SegmentId, int]] = []
    while waiting:
        begin = waiting.pop()
        end = _end(begin, children)
        found.append((end, by_id[end].last_step - by_id[begin].first_step))
        waiting += children.get(end, ())
    return found


# --- Graphviz -------------------------------------------------------------------------------------


def dot(record: Record) -> str:
    """Return the tree as a graph of Graphviz, from left to right, an interval a column.

    A node has member and score, and its hyperparameters as a tooltip. The winner's lineage is bold,
    an edge from a donor to an heir dashed, and a failed segment dotted.

    Args:
        record: Record of a run.
    """
    threads: set[SegmentId] = set()
    with suppress(AllMembersFailedError):
        threads = {segment.id for segment in record.lineage()}
    by_interval: dict[int, list[Segment]] = {}
    for segment in record.segments:
        by_interval.setdefault(segment.interval, []).append(segment)

    lines = [
        "digraph lineage {",
        "  rankdir=LR;",
        '  node [shape=box, fontname="Helvetica", fontsize=10];',
        "  edge [arrowsize=0.6];",
    ]
    for interval, group in sorted(by_interval.items()):
        lines.append(f"  subgraph interval_{interval} {{")
        lines.append("    rank=same;")
        lines += [f"    {_node(segment, record, threads)}" for segment in group]
        lines.append("  }")
    for segment in record.segments:
        if segment.source is not None:
            lines.append(f"  {_edge(segment, segment.source, record.copied, threads)}")
    return "\n".join([*lines, "}"]) + "\n"


def _node(segment: Segment, record: Record, threads: Collection[SegmentId]) -> str:
    score = "failed" if segment.failed else value_text(record.ranking.shown(segment.score))
    words = [f"member {segment.member}", f"interval {segment.interval}", score]
    values = [f"{name} = {value_text(value)}" for name, value in segment.hparams.items()]
    role = [f"role {segment.role}"] if segment.role else []
    attributes = {"label": _quoted(words), "tooltip": _quoted([*role, *values])}
    if segment.id in threads:
        attributes["penwidth"] = "3"
    if segment.failed:
        attributes["style"] = "dotted"
    return f"{label(segment.id)} [{_listed(attributes)}];"


def _edge(
    segment: Segment,
    source: SegmentId,
    copied: Collection[SegmentId],
    threads: Collection[SegmentId],
) -> str:
    attributes: dict[str, str] = {}
    if segment.id in copied:
        attributes["style"] = "dashed"
    if segment.id in threads:
        attributes["penwidth"] = "3"
    end = f" [{_listed(attributes)}]" if attributes else ""
    return f"{label(source)} -> {label(segment.id)}{end};"


def _listed(attributes: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in attributes.items())


def _quoted(lines: Sequence[str]) -> str:
    r"""Return lines as a string of Graphviz; in it only the line breaks are commands."""
    plain = [_one_line(line).replace("\\", "\\\\") for line in lines]
    return '"' + "\\n".join(line.replace('"', '\\"') for line in plain) + '"'
