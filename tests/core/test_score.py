import pytest

from popgrad.core.errors import UsageError
from popgrad.core.score import Score, check_direction, lower_is_better, named_score


@pytest.mark.parametrize(
    ("text", "metric", "minimize", "written"),
    [
        ("accuracy", "accuracy", False, "accuracy"),
        ("-loss", "loss", True, "-loss"),
        ("+loss", "loss", False, "loss"),
        ("--odd", "-odd", True, "--odd"),
    ],
)
def test_a_sign_is_the_direction(text, metric, minimize, written):
    score = Score.parse(text)
    assert (score.metric, score.minimize, score.text) == (metric, minimize, written)


def test_the_score_ranks_and_is_shown_as_the_metric():
    low = Score("loss", minimize=True)
    assert (low.rank(0.25), low.shown(-0.25), low.label) == (-0.25, 0.25, "loss (lower is better)")
    assert str(low.shown(0.0)) == "0.0"
    high = Score("accuracy")
    assert (high.rank(0.9), high.shown(0.9), high.label) == (0.9, 0.9, "accuracy")
    assert (low.direction, high.direction) == ("minimize", "maximize")


LOWER = [
    *(
        "loss",
        "Loss",
        "val_loss",
        "loss_val",
        "val/loss",
        "validation-loss",
        "valLoss",
        "testLoss2",
    ),
    *("valloss", "log_loss", "logloss", "error", "top1_error", "testerror", "err", "mse", "MSE"),
    *("testMSE", "rmse", "mae_test", "mean_squared_error", "nll", "perplexity", "ppl", "wer"),
    *("cer", "FID", "fid50k", "regret", "cost", "cross_entropy", "brier", "ECE", "bits_bpb"),
]
HIGHER = [
    *("accuracy", "lossless", "lossless_ratio", "q", "f1", "auc", "reward", "entropy", "neg_mse"),
    *(
        "neg_mean_squared_error",
        "negative_loss",
        "error_reduction",
        "cost_saving",
        "profit_and_loss",
    ),
    *("center", "merge", "werewolf", "terror_free", "mean_iou", "-", ""),
]


@pytest.mark.parametrize("name", LOWER)
def test_losses_and_errors_are_not_maximised_without_a_word(name):
    assert lower_is_better(name)
    with pytest.raises(UsageError, match="lower is better") as caught:
        check_direction(name)
    assert f'minimize="{name}"' in str(caught.value)
    assert f'score="+{name}"' in str(caught.value)
    check_direction(f"+{name}")
    check_direction(f"-{name}")


@pytest.mark.parametrize("name", HIGHER)
def test_other_metrics_are(name):
    check_direction(name)


def test_one_metric_ranks():
    assert named_score("accuracy", None) == "accuracy"
    assert named_score(None, "loss") == "-loss"
    assert named_score("-loss", "loss") == "-loss"
    assert named_score(None, None) is None
    with pytest.raises(UsageError, match="Toy: score, minimize: got 'f1' and 'loss'"):
        named_score("f1", "loss", "Toy: ")
    with pytest.raises(UsageError, match="without a sign, got '-loss'; minimize='loss'"):
        named_score(None, "-loss")
    for wrong in ("", "-", 3, True):
        with pytest.raises(UsageError, match="score: expected the name of a metric, got"):
            named_score(wrong, None)
    with pytest.raises(UsageError, match="minimize: expected the name of a metric, got ''"):
        named_score(None, "")


def test_a_target_is_a_value_of_the_metric():
    assert Score("loss", minimize=True).target(0.1) == -0.1
    assert Score("accuracy").target(0.9) == 0.9
    assert Score("accuracy").target(None) is None
    # The likelihood of a density may be above 1.
    assert Score("nll", minimize=True).target(-2.0) == 2.0
    with pytest.raises(
        UsageError, match=r"target_score: got -0\.1, but mse is minimised and never"
    ):
        Score("mse", minimize=True).target(-0.1)
