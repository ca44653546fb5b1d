"""Family trees, read back by the programs of others: phylotrackpy, DendroPy, and networkx by pydot."""

import csv
import io
import math
from dataclasses import replace
from pathlib import Path

import dendropy
import networkx
import pydot
import pytest

import popgrad
from alife_reader import read_alife
from popgrad.core.segment import Segment
from popgrad.core.space import Choice, Constant, Space
from popgrad.record.lineage import index, roots
from popgrad.record.record import Record
from popgrad.reports import phylogeny

pytestmark = pytest.mark.filterwarnings("ignore:.* deprecated - use .*:DeprecationWarning")

NASTY = 'a"b\\N; {x} [1]\n(2),\'<b>\x1b[2J\u202e, "q"'


@pytest.fixture(scope="module")
def record() -> Record:
    """A run of several founders, and copies in each interval."""
    result = popgrad.run(
        "quadratic", population=6, intervals=6, interval=2, executor="serial", progress=False
    )
    assert result.record.copied
    return result.record


def chain(length: int) -> Record:
    """A long lineage, with a branch that dies in every interval."""

    def segment(member: int, interval: int) -> Segment:
        return Segment(
            *(member, interval, (0, interval - 1) if interval else None, {"h": 0.5}, {}, 0),
            first_step=3 * interval,
            steps=3,
            samples=0,
            score=0.5,
            metrics={},
            digest="",
            status="done",
        )

    segments = [segment(0, 0), *(segment(m, i) for i in range(1, length) for m in range(2))]
    return Record(space=Space({"h": Constant(0.5)}), score_name="q", segments=tuple(segments))


def hostile(record: Record) -> Record:
    """The same run with names that mean something to each of the formats."""
    space = Space({"act": Choice((NASTY, "relu")), "id": Constant(1)})
    segments = [
        replace(each, hparams={"act": NASTY, "id": 1}, role=NASTY) for each in record.segments
    ]
    segments[3] = replace(segments[3], score=math.nan)
    return replace(record, space=space, segments=tuple(segments), config={"task": NASTY})


# --- ALife ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("spoil", [lambda record: record, hostile])
def test_phylotrackpy_reads_the_alife_standard(spoil, record: Record, tmp_path: Path) -> None:
    record = spoil(record)
    path = tmp_path / "tree.csv"
    path.write_text(phylogeny.alife(record))
    read = read_alife(path)
    assert read.get_num_taxa() == len(record.segments)
    assert read.get_num_roots() == len({*roots(record.segments).values()})
    present = {phylogeny.label(each.id) for each in record.last.values()}
    active = {taxon.get_info(): taxon for taxon in read.get_active_taxa()}
    assert active.keys() == present

    by_label = {phylogeny.label(each.id): each for each in record.segments}
    for taxon in active.values():
        line = []
        while taxon is not None:
            line.append(taxon.get_info())
            assert taxon.get_origination_time() == by_label[taxon.get_info()].first_step
            taxon = taxon.get_parent()
        chain = record.lineage(by_label[line[0]].id)
        assert line[::-1] == [phylogeny.label(each.id) for each in chain]


def test_the_alife_table_has_our_columns(record: Record) -> None:
    rows = list(csv.DictReader(io.StringIO(phylogeny.alife(hostile(record)))))
    assert list(rows[0])[:5] == [
        *("id", "ancestor_list", "origin_time", "destruction_time", "taxon_label")
    ]
    assert (rows[0]["id"], rows[0]["ancestor_list"], rows[0]["hparams.id"]) == ("0", "[none]", "1")
    assert "\n" not in rows[0]["act"]
    assert "\x1b" not in rows[0]["act"]
    copied = {int(row["id"]) for row in rows if row["copied"] == "1"}
    assert copied == {n for n, each in enumerate(record.segments) if each.id in record.copied}
    assert rows[3]["score"] == "nan"


# --- Newick ---------------------------------------------------------------------------------------


def test_dendropy_reads_newick(record: Record) -> None:
    tree = dendropy.Tree.get(data=phylogeny.newick(record), schema="newick")
    by_label = {phylogeny.label(each.id): each for each in record.segments}
    parents = {each.source for each in record.segments}
    ends = {name for name, each in by_label.items() if each.id not in parents}
    assert {leaf.taxon.label for leaf in tree.leaf_node_iter()} == ends
    for leaf in tree.leaf_node_iter():
        assert leaf.distance_from_root() == by_label[leaf.taxon.label].last_step

    # The nodes above a leaf are those of its lineage that branch.
    for leaf in tree.leaf_node_iter():
        chain = record.lineage(by_label[leaf.taxon.label].id)
        above = [node.label for node in leaf.ancestor_iter() if node.label != "founders"]
        names = [phylogeny.label(each.id) for each in chain]
        assert [name for name in names if name in above] == above[::-1]
    assert tree.seed_node.label == "founders"


def test_one_founder_is_the_root(record: Record) -> None:
    alone = [each for each in record.segments if each.member == 0 and each.interval < 1]
    tree = dendropy.Tree.get(
        data=phylogeny.newick(replace(record, segments=tuple(alone))), schema="newick"
    )
    assert tree.seed_node.taxon.label == "m0i0"
    assert tree.seed_node.edge.length == 2


def test_a_long_lineage_is_no_deep_recursion() -> None:
    text = phylogeny.newick(chain(3000))
    assert text.count("(") == text.count(")") == 2999
    assert text.endswith(")m0i0:3;\n")


# --- Graphviz -------------------------------------------------------------------------------------


@pytest.mark.parametrize("spoil", [lambda record: record, hostile])
def test_networkx_reads_the_graph(spoil, record: Record) -> None:
    record = spoil(record)
    (parsed,) = pydot.graph_from_dot_data(phylogeny.dot(record))
    graph = networkx.MultiDiGraph(networkx.nx_pydot.from_pydot(_flat(parsed)))
    by_label = {phylogeny.label(each.id): each for each in record.segments}
    assert set(graph.nodes) == by_label.keys()
    edges = {
        (phylogeny.label(s.source), phylogeny.label(s.id)) for s in record.segments if s.source
    }
    assert {(donor, heir) for donor, heir, _ in graph.edges} == edges

    dashed = {heir for _, heir, data in graph.edges(data=True) if data.get("style") == "dashed"}
    assert dashed == {phylogeny.label(each) for each in record.copied}
    bold = {name for name, data in graph.nodes(data=True) if data.get("penwidth") == "3"}
    assert bold == {phylogeny.label(each.id) for each in record.lineage()}


def _flat(graph: pydot.Dot) -> pydot.Dot:
    """Return a graph with the nodes of its subgraphs as its own, which networkx leaves out."""
    for subgraph in graph.get_subgraphs():
        for node in subgraph.get_nodes():
            graph.add_node(node)
    for name in ("node", "edge"):
        graph.del_node(name)
    return graph


def test_intervals_are_columns_of_the_graph(record: Record) -> None:
    (parsed,) = pydot.graph_from_dot_data(phylogeny.dot(record))
    columns = {each.get_name(): each for each in parsed.get_subgraphs()}
    assert list(columns) == [f"interval_{i}" for i in range(6)]
    for number, column in enumerate(columns.values()):
        assert column.get("rank") == "same"
        names = {node.get_name() for node in column.get_nodes()}
        assert names == {f"m{m}i{number}" for m in range(6)}


def test_a_name_cannot_leave_its_string(record: Record) -> None:
    text = phylogeny.dot(hostile(record))
    assert "\x1b" not in text
    assert "\u202e" not in text
    (parsed,) = pydot.graph_from_dot_data(text)
    node = parsed.get_subgraphs()[0].get_nodes()[0]
    assert node.get("tooltip").startswith('"role a\\"b\\\\N; {x}')
    assert 'label="member 3\\ninterval 0\\nfailed"' in text


def test_all_failed_is_a_tree_without_a_winner(record: Record) -> None:
    failed = replace(
        record, segments=tuple(replace(each, score=math.nan) for each in record.segments)
    )
    assert "penwidth" not in phylogeny.dot(failed)
    assert index(failed.segments).keys() == index(record.segments).keys()
    assert phylogeny.newick(failed) == phylogeny.newick(record)
