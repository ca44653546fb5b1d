"""The last members as one model: made, compared with the winner, tested, saved, loaded."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

import popgrad
from popgrad import Integer, LogUniform, Space, Splits, TorchTask, UsageError
from popgrad.comparison.trial import read_trial
from popgrad.core.score import Score
from popgrad.runs.networks import LoopNetworks, MeanOutput, TorchNetworks
from popgrad.runs.soup import Candidate, Soup
from popgrad.tasks.base import Context
from program import popgrad as program
from spies import Spy

GIVEN = {
    "population": 4,
    "intervals": 2,
    "interval": 6,
    "executor": "serial",
    "device": "cpu",
    "progress": False,
    "outputs": False,
}


def blobs(classes=3, samples=(60, 40, 30)):
    """Return a small classification problem."""
    stream = torch.Generator().manual_seed(1)
    x = torch.randn(sum(samples), 4, generator=stream)
    y = (x[:, :classes] + 0.4 * torch.randn(len(x), classes, generator=stream)).argmax(1)
    parts = torch.arange(len(x)).split(samples)
    return Splits(*((x[rows].clone(), y[rows].clone()) for rows in parts))


def task(model, **fields):
    return TorchTask(
        space=Space({"lr": LogUniform(1e-2, 1.0)}),
        model=model,
        optimizer=lambda module, hparams: torch.optim.SGD(module.parameters(), lr=0.1),
        data=blobs,
        batch_size=16,
    )


def linear(hparams):
    return nn.Linear(4, 3)


def normalised(hparams):
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3))


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return popgrad.run(task(linear), directory=tmp_path_factory.mktemp("a") / "run", **GIVEN)


@pytest.fixture(scope="module")
def norm(tmp_path_factory):
    return popgrad.run(task(normalised), directory=tmp_path_factory.mktemp("b") / "run", **GIVEN)


def weights(result, member):
    return result.state(result.last[member].id)["model"]


def readings(result):
    with closing(sqlite3.connect(result.directory / "journal.db")) as journal:
        return journal.execute("SELECT reader, split FROM readings").fetchall()


# --- TorchTask -------------------------------------------------------------------------------------------


def test_a_linear_models_uniform_soup_is_the_mean(result):
    soup = result.soup()
    assert sorted(soup.uniform.members) == [0, 1, 2, 3]
    mean = torch.stack([weights(result, m)["weight"].double() for m in range(4)]).mean(0)
    assert torch.allclose(soup.uniform.state["model"]["weight"].double(), mean, atol=1e-7)
    x, y = blobs().validation
    outputs = functional.linear(x, *soup.uniform.state["model"].values())
    assert soup.uniform.metrics["accuracy"] == pytest.approx(
        float((outputs.argmax(1) == y).double().mean())
    )


def test_the_winner_in_it_is_the_winner(result):
    soup = result.soup()
    assert soup.winner.members == (result.winner.member,)
    assert soup.winner.metrics == result.winner.segment.metrics
    assert soup.winner.score == result.winner.score
    assert soup.greedy.score >= soup.winner.score
    assert soup.greedy.members[0] == result.winner.member
    assert soup.hparams == result.winner.hparams


def test_it_is_chosen_on_validation_and_the_same_each_time(result):
    soup, again = result.soup(), result.soup()
    assert soup == again
    assert soup.chosen.score == max(soup.uniform.score, soup.greedy.score)
    assert soup.helps is (soup.chosen.score > soup.winner.score)
    assert torch.equal(soup.module.weight, again.module.weight)


def test_an_ensemble_of_classifiers_is_the_mean_of_their_probabilities(result):
    soup = result.soup()
    x, y = blobs().validation
    probabilities = [
        functional.linear(x, *weights(result, m).values()).softmax(1) for m in range(4)
    ]
    mean = torch.stack(probabilities).mean(0)
    assert soup.mean == "probabilities"
    assert soup.ensemble.metrics["accuracy"] == pytest.approx(
        float((mean.argmax(1) == y).double().mean())
    )
    assert soup.ensemble.metrics["loss"] == pytest.approx(
        float(functional.nll_loss(mean.log(), y)), rel=1e-5
    )


def test_an_ensemble_of_others_is_the_mean_of_their_outputs(tmp_path):
    x = torch.linspace(-1, 1, 20)[:, None]
    parts = Splits(*[(x, 2 * x)] * 3)
    regression = TorchTask(
        space=Space({"lr": LogUniform(1e-2, 1.0)}),
        model=lambda hparams: nn.Linear(1, 1),
        optimizer=lambda module, hparams: torch.optim.SGD(module.parameters(), lr=0.1),
        data=lambda: parts,
        loss=lambda module, batch, hparams: functional.mse_loss(module(batch[0]), batch[1]),
        metrics=popgrad.metrics.regression,
        minimize="loss",
    )
    soup = popgrad.run(regression, directory=tmp_path / "run", **GIVEN).soup()
    assert soup.mean == "outputs"
    # The mean output of linear models is the output of their mean.
    assert soup.ensemble.metrics["loss"] == pytest.approx(soup.uniform.metrics["loss"], rel=1e-5)
    assert soup.greedy.metrics["loss"] <= soup.winner.metrics["loss"]


def test_batch_norm_statistics_are_estimated_again(norm):
    soup = norm.soup()
    state = soup.uniform.state["model"]
    means = torch.stack([weights(norm, m)["1.running_mean"] for m in range(4)]).mean(0)
    assert not torch.allclose(state["1.running_mean"], means, atol=1e-4)
    x, _ = blobs().train
    hidden = functional.linear(x, state["0.weight"], state["0.bias"])
    # Three batches of 16 of the 60 samples.
    assert torch.allclose(state["1.running_mean"], hidden.mean(0), atol=0.5)
    assert torch.allclose(state["1.running_var"], hidden.var(0), rtol=0.5)
    best = soup.uniform.members[0]
    assert state["1.num_batches_tracked"] == weights(norm, best)["1.num_batches_tracked"]


def test_the_statistics_are_those_of_given_batches(norm):
    x, _ = blobs().train
    state = norm.soup(batches=[x]).uniform.state["model"]
    again = norm.soup(batches=[(x, None)]).uniform.state["model"]
    assert torch.equal(state["1.running_mean"], again["1.running_mean"])
    hidden = functional.linear(x, state["0.weight"], state["0.bias"])
    assert torch.allclose(state["1.running_mean"], hidden.mean(0), atol=1e-6)
    with pytest.raises(UsageError, match=r"batches: got an iterator, .* give a list"):
        norm.soup(batches=iter([x]))


def test_a_member_of_another_shape_is_in_the_ensemble_alone(tmp_path):
    def wide(hparams):
        return nn.Sequential(nn.Linear(4, hparams["width"]), nn.Linear(hparams["width"], 3))

    space = Space({"lr": LogUniform(1e-2, 1.0), "width": Integer(2, 3, init_only=True)})
    wider = TorchTask(
        space=space,
        model=wide,
        optimizer=lambda module, hparams: torch.optim.SGD(module.parameters(), lr=0.1),
        data=blobs,
    )
    initial = [{"width": 2}, {"width": 3}, {"width": 2}, {"width": 3}]
    result = popgrad.run(
        wider, directory=tmp_path / "run", initial=initial, strategy="random-search", **GIVEN
    )
    soup = result.soup()
    best = result.winner.segment.hparams["width"]
    others = [m for m, segment in result.last.items() if segment.hparams["width"] != best]
    assert list(soup.left_out) == others
    assert f"instead of [{best}, 4], as in the best member" in soup.left_out[others[0]]
    assert not set(soup.uniform.members) & set(others)
    assert sorted(soup.ensemble.members) == [0, 1, 2, 3]


def test_the_test_split_is_read_on_request_and_that_is_recorded(result):
    assert result.soup().uniform.test is None
    before = len(readings(result))
    soup = result.soup(test=True, reader="mine")
    new = readings(result)[before:]
    assert soup == result.soup(test=True) != result.soup()
    assert {split for _, split in new} == {"test"}
    assert [reader.split(" of ")[0] for reader, _ in new] == [
        "mine: winner",
        "mine: uniform soup",
        "mine: greedy soup",
        "mine: ensemble",
    ]
    assert soup.winner.test == result.test()
    assert "on the test split" in soup.verdict or not soup.helps


def test_a_comparison_does_not_take_a_soup_for_the_winner(tmp_path):
    result = popgrad.run(task(linear), directory=tmp_path / "run", score="-loss", **GIVEN)
    soup = result.soup(test=True)
    assert soup.ensemble.test["loss"] != soup.winner.test["loss"]
    assert read_trial(tmp_path / "run").test == -soup.winner.test["loss"]


def test_it_is_saved_as_a_network_that_loads(norm):
    soup = norm.soup()
    path = norm.directory / "soup.safetensors"
    module = popgrad.load_model(path, task=norm.task)
    x = torch.randn(5, 4)
    assert torch.equal(module(x), soup.module(x))
    assert not module.training
    plain = normalised({})
    plain.load_state_dict(load_file(path))
    assert torch.equal(plain.eval()(x), soup.module(x))
    described = json.loads(path.with_suffix(".json").read_text())
    assert described["soup"]["verdict"] == soup.verdict
    assert described["metrics"] == dict(soup.chosen.metrics)


# --- training loops --------------------------------------------------------------------------------------

SPACE = {"lr": LogUniform(1e-2, 1.0)}


def train(m):
    parts = blobs()
    torch.manual_seed(m.seed("data"))
    model = build({})
    optimizer = torch.optim.SGD(model.parameters(), lr=m["lr"])
    m.track(model=model, optimizer=optimizer)
    for _ in m:
        for _ in range(3):
            optimizer.zero_grad()
            functional.cross_entropy(model(parts.train[0]), parts.train[1]).backward()
            optimizer.step()
        m.report(**evaluate(model, "validation"))


def build(hparams):
    return nn.Linear(4, 3)


def evaluate(model, split):
    x, y = getattr(blobs(), split)
    with torch.no_grad():
        return {"accuracy": popgrad.metrics.accuracy(model(x), y)}


LOOP = {key: value for key, value in GIVEN.items() if key != "interval"}


def test_the_soup_of_a_loop(tmp_path):
    loop = popgrad.loop(train, space=SPACE, score="accuracy", evaluate=evaluate, module=build)
    result = popgrad.run(loop, directory=tmp_path / "run", **LOOP)
    soup = result.soup(test=True)
    assert soup.winner.metrics == {"accuracy": result.winner.score}
    assert soup.greedy.score >= soup.winner.score
    assert soup.mean == "outputs"
    # The mean output of linear models is the output of their mean.
    assert soup.ensemble.metrics == soup.uniform.metrics
    assert soup.uniform.test == soup.ensemble.test
    loaded = popgrad.load_model(tmp_path / "run" / "soup.safetensors", task=loop)
    assert torch.equal(loaded.weight, soup.module.weight)


def test_a_loop_whose_evaluation_reads_another_split_is_refused(tmp_path):
    def of_test(model, split):
        return evaluate(model, "test")

    loop = popgrad.loop(train, space=SPACE, score="accuracy", evaluate=of_test, module=build)
    result = popgrad.run(loop, directory=tmp_path / "run", **LOOP)
    with pytest.raises(
        UsageError, match=r"was recorded with accuracy .* so no soup can be compared"
    ):
        result.soup()
    assert not (tmp_path / "run" / "soup.safetensors").exists()


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({}, "loop train has no evaluate= and no module=; give"),
        ({"evaluate": evaluate}, "loop train has no module=; give"),
        ({"module": build}, "loop train has no evaluate=; give"),
    ],
)
def test_a_loop_without_its_parts_is_refused(tmp_path, parts, words):
    loop = popgrad.loop(train, space=SPACE, score="accuracy", **parts)
    result = popgrad.run(loop, directory=tmp_path / "run", **LOOP)
    with pytest.raises(UsageError, match=words):
        result.soup()


def test_batch_norm_in_a_loop_needs_batches():
    def network(hparams):
        return nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 3))

    loop = popgrad.loop(train, space=SPACE, score="accuracy", evaluate=evaluate, module=network)
    state = {"model": dict(network({}).state_dict())}
    with pytest.raises(UsageError, match=r"give some in Python: result.soup\(batches=loader\)"):
        LoopNetworks(loop, Context()).statistics((state, {}))
    x, y = blobs().train
    found = LoopNetworks(loop, Context(), [(x, y)]).statistics((state, {}))
    assert torch.allclose(found["0.running_mean"], x.mean(0), atol=1e-6)
    with pytest.raises(UsageError, match="batches: expected tensors of inputs"):
        LoopNetworks(loop, Context(), [{"x": x}]).statistics((state, {}))


def test_outputs_without_a_mean_make_no_ensemble():
    class Pair(nn.Module):
        def forward(self, x):
            return x, x

    with pytest.raises(UsageError, match="returns a tuple, which has no mean"):
        MeanOutput([Pair()])(torch.ones(1))
    classes = TorchTask(
        **{**vars(task(linear)), "predict": lambda module, batch: module(batch[0]).argmax(1)}
    )
    state = {"model": dict(nn.Linear(4, 3).state_dict())}
    with pytest.raises(UsageError, match="which has no mean"):
        TorchNetworks(classes, Context()).evaluate_ensemble([(state, {"lr": 0.1})], "validation")


# --- what is refused, and what is stated -----------------------------------------------------------------


def test_other_tasks_and_runs_in_memory_are_refused(tmp_path, result):
    with pytest.raises(UsageError, match="soup: a Spy has no network whose weights"):
        popgrad.run(Spy(), directory=tmp_path / "run", **{**GIVEN, "interval": 2}).soup()
    with pytest.raises(UsageError, match="in memory only"):
        popgrad.run(task(linear), **GIVEN).soup()
    one = {**GIVEN, "population": 1, "strategy": "random-search"}
    alone = popgrad.run(task(linear), directory=tmp_path / "one", **one)
    with pytest.raises(UsageError, match=r"expected at least 2 members .*, got 1"):
        alone.soup()


def test_a_task_without_a_test_split_is_not_tested(tmp_path):
    loop = popgrad.loop(train, space=SPACE, score="accuracy")
    untested = popgrad.run(loop, directory=tmp_path / "run", **LOOP)
    with pytest.raises(UsageError, match="soup: test: the task has no evaluation on a test split"):
        untested.soup(test=True)


def made(greedy, test=None, minimize=False):
    """Return a soup whose winner has a score of 0.5, tested with 0.5."""
    tested = None if test is None else {"q": 0.5}
    winner = Candidate("winner", (1,), {"q": 0.5}, 0.5, tested)
    found = Candidate("greedy soup", (1, 0), {"q": greedy}, greedy, test and {"q": test})
    uniform = Candidate("uniform soup", (1, 0, 2), {"q": 0.1}, 0.1)
    return Soup(
        winner=winner,
        uniform=uniform,
        greedy=found,
        ensemble=None,
        mean="outputs",
        left_out={},
        hparams={},
        task=Spy(),
        ranking=Score("q", minimize=minimize),
    )


@pytest.mark.parametrize(
    ("soup", "words"),
    [
        (made(0.5), "The soup does not help: no average of the last members is better"),
        (made(0.6), "The greedy soup of members 0, 1 is better on the validation split: q 0.6,"),
        (made(0.6, 0.7), "; on the test split it helps too."),
        (made(0.6, 0.5), "; on the test split it does not help."),
        (made(0.6, 0.4), "; on the test split it does not help."),
        (made(0.6, 0.4, minimize=True), "; on the test split it helps too."),
    ],
)
def test_whether_it_helps_is_stated_in_one_sentence(soup, words):
    assert words in soup.verdict
    assert soup.verdict.endswith(".")
    assert "\n" not in soup.verdict
    assert soup.helps is (soup.greedy.score > 0.5)


def test_equal_soups_are_the_greedy_one():
    soup = made(0.1)
    assert soup.chosen.name == "greedy soup"


# --- the command -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    path = tmp_path_factory.mktemp("c") / "run"
    given = {**GIVEN, "options": {"n_hiddens": [8]}, "interval": 40}
    return popgrad.run("digits", directory=path, **given).directory


def test_the_command_prints_all_models_and_the_verdict(digits: Path):
    done = program("soup", str(digits), "--test")
    assert done.code == 0
    # A narrow terminal folds headings and names.
    words = " ".join(done.out.split())
    assert words.startswith("model members")
    assert all(
        name in words for name in ("winner", "uniform soup", "greedy soup", "ensemble (mean of")
    )
    assert "soup.safetensors" in words
    assert (digits / "soup.safetensors").exists()
    assert popgrad.load_model(digits / "soup.safetensors")(torch.zeros(1, 64)).shape == (1, 10)


def test_the_command_as_json(digits: Path):
    plain = program("soup", str(digits), "--json").json
    tested = program("soup", str(digits), "--json", "--test").json
    assert plain["winner"]["test"] is None
    assert set(tested["winner"]["test"]) == {"accuracy", "loss"}
    assert plain["chosen"] in ("uniform soup", "greedy soup")
    assert plain["helps"] is (
        max(plain[kind]["metrics"]["accuracy"] for kind in ("uniform", "greedy"))
        > plain["winner"]["metrics"]["accuracy"]
    )
    assert Path(plain["file"]) == digits / "soup.safetensors"


def test_the_command_refuses_in_one_line(tmp_path):
    popgrad.run("quadratic", directory=tmp_path / "run", **{**GIVEN, "interval": 2})
    done = program("soup", str(tmp_path / "run"))
    assert done.code == 2
    assert "has no network whose weights can be averaged" in done.err
    assert program("soup", str(tmp_path / "nowhere")).code == 2
