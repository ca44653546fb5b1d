"""TensorBoard events, read back with TensorBoard's own reader."""

import math
import sys
from dataclasses import replace

import pytest
import torch

from popgrad.core.errors import UsageError
from popgrad.core.segment import Telemetry
from popgrad.reports.events import Events

pytest.importorskip("tensorboard")
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

LOGGED = Telemetry(curve=((5, "train_loss", 0.5), (10, "train_loss", 0.25)))


def read(directory):
    """Tag -> [(step, value), ...] of one member."""
    found = EventAccumulator(str(directory)).Reload()
    return {
        tag: [(each.step, each.value) for each in found.Scalars(tag)]
        for tag in found.Tags()["scalars"]
    }


def write(events, segments, **telemetry):
    for segment in segments:
        events.segment(segment, telemetry.get(f"m{segment.member}_{segment.interval}", Telemetry()))


def of(segments, member):
    return [segment for segment in segments if segment.member == member]


def single(value):
    """What is left of a number in single precision."""
    return float(torch.tensor(value, dtype=torch.float32))


def test_every_number_of_a_segment_is_a_curve(tmp_path, segments, space):
    Events(tmp_path / "events", space, "accuracy").segment(segments[0], LOGGED)
    found = read(tmp_path / "events" / "member-00")
    lr = single(0.1 / 3)
    assert found == {
        "train/train_loss": [(5, 0.5), (10, 0.25)],
        "validation/accuracy": [(10, 0.5)],
        "validation/loss": [(10, 0.5)],
        "score/accuracy": [(10, 0.5)],
        "hyperparameters/lr": [(1, lr), (10, lr)],
        "hyperparameters/keep": [(1, 0.75), (10, 0.75)],
        "hyperparameters/momentum": [(1, single(0.9)), (10, single(0.9))],
        "hyperparameters/width": [(1, 32.0), (10, 32.0)],
        "hyperparameters/batch": [(1, 200.0), (10, 200.0)],
        "lineage/failed": [(10, 0.0)],
        "lineage/interval": [(10, 0.0)],
    }


def test_members_have_directories_of_their_own(tmp_path, segments, space):
    write(Events(tmp_path, space), segments)
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        "member-00",
        "member-01",
        "member-02",
    ]
    assert [step for step, _ in read(tmp_path / "member-01")["score/score"]] == [10, 20, 30]


def test_an_heir_of_a_donor_with_fewer_steps_does_not_run_back_in_time(tmp_path, segments, space):
    """Member 1 trains 100 steps, then inherits a state that has trained 10 steps only."""
    donor, slow = segments[0], replace(segments[1], steps=100)
    heir = replace(segments[4], source=donor.id, first_step=donor.last_step)
    logged = {
        "m1_0": Telemetry(
            curve=tuple((step, "train_loss", float(step)) for step in range(10, 101, 10))
        ),
        "m1_1": Telemetry(curve=((15, "train_loss", 15.0), (20, "train_loss", 20.0))),
    }
    write(Events(tmp_path, space), [donor, slow, heir], **logged)
    found = read(tmp_path / "member-01")
    for points in found.values():
        steps = [step for step, _ in points]
        assert steps == sorted(set(steps))
    assert [step for step, _ in found["train/train_loss"]] == [*range(10, 101, 10), 105, 110]
    assert [step for step, _ in found["score/score"]] == [100, 110]
    assert [step for step, _ in found["hyperparameters/lr"]] == [1, 100, 101, 110]


def test_a_task_that_counts_otherwise_stays_within_its_segment(tmp_path, segments, space):
    odd = Telemetry(curve=((30, "loss", 1.0), (0, "loss", 2.0), (12, "loss", 3.0)))
    write(Events(tmp_path, space), of(segments, 0)[:2], m0_1=odd)
    assert read(tmp_path / "member-00")["train/loss"] == [(11, 2.0), (12, 3.0), (20, 1.0)]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e300])
def test_numbers_that_cannot_be_drawn_are_left_out(tmp_path, segments, space, value):
    failed = replace(segments[0], score=math.nan, metrics={"accuracy": value}, digest="d")
    events = Events(tmp_path, space)
    events.segment(failed, Telemetry(curve=((5, "loss", 1.0), (10, "loss", value))))
    found = read(tmp_path / "member-00")
    assert found["train/loss"] == [(5, 1.0)]
    assert not {"score/score", "validation/accuracy"} & found.keys()


def test_a_resumed_run_goes_on_where_the_record_ends(tmp_path, segments, space):
    mine = of(segments, 0)
    write(Events(tmp_path / "whole", space), mine)
    write(Events(tmp_path / "cut", space), mine[:1])
    write(Events(tmp_path / "cut", space, recorded=mine[:1]), mine[1:])
    assert read(tmp_path / "cut" / "member-00") == read(tmp_path / "whole" / "member-00")
    assert len(list((tmp_path / "cut" / "member-00").iterdir())) == 2


def test_what_a_killed_session_wrote_beyond_the_record_is_not_shown_twice(
    tmp_path, segments, space
):
    mine = of(segments, 0)
    write(Events(tmp_path / "whole", space), mine)
    write(Events(tmp_path / "cut", space), mine[:2])
    write(Events(tmp_path / "cut", space, recorded=mine[:1]), mine[1:])
    assert read(tmp_path / "cut" / "member-00") == read(tmp_path / "whole" / "member-00")
    write(Events(tmp_path / "cut", space), mine)  # made again from the record
    assert read(tmp_path / "cut" / "member-00") == read(tmp_path / "whole" / "member-00")


def test_a_segment_that_is_recorded_is_not_written_again(tmp_path, segments, space):
    events = Events(tmp_path, space, recorded=segments[:3])
    write(events, [*segments[:3], segments[3], segments[3]])
    assert read(tmp_path / "member-00")["score/score"] == [(20, single(0.9))]


def test_after_close_a_new_file_goes_on(tmp_path, segments, space):
    events = Events(tmp_path, space)
    for segment in of(segments, 0):
        events.segment(segment, Telemetry())
        events.close()
    assert len(list((tmp_path / "member-00").iterdir())) == 3
    assert [step for step, _ in read(tmp_path / "member-00")["score/score"]] == [10, 20, 30]


def test_nothing_is_written_before_there_is_something_to_see(tmp_path, space):
    Events(tmp_path / "events", space).close()
    assert not (tmp_path / "events").exists()


@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_one_picture_in_all_shades(tmp_path, space, channels):
    from io import BytesIO

    import numpy as np
    from PIL import Image

    batch = torch.linspace(-0.4, 2.8, 10 * channels * 4 * 5).reshape(10, channels, 4, 5)
    Events(tmp_path, space).images(batch, "train images")
    Events(tmp_path, space, recorded=[]).images(batch, "train images")  # a later session
    (event,) = EventAccumulator(str(tmp_path / "images")).Reload().Images("train images")
    picture = np.asarray(Image.open(BytesIO(event.encoded_image_string)))
    assert (event.height, event.width) == (2 * 4, 8 * 5) == picture.shape[:2]
    assert (picture[0, 0, 0], picture[7, 9, channels - 1]) == (0, 255)


def test_images_without_contrast_are_black(tmp_path, space):
    Events(tmp_path, space).images(torch.full((1, 1, 2, 2), 5), "blank")
    assert EventAccumulator(str(tmp_path / "images")).Reload().Images("blank")


@pytest.mark.parametrize("shape", [(2, 4, 4), (2, 2, 4, 4), (0, 1, 4, 4)])
def test_what_is_no_batch_of_images_is_refused(tmp_path, space, shape):
    with pytest.raises(UsageError, match=r"expected a batch \[n, 1 or 3, height, width\]"):
        Events(tmp_path, space).images(torch.zeros(shape), "x")


def test_without_tensorboard_it_says_how_to_get_it(tmp_path, space, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto.event_pb2", None)
    with pytest.raises(UsageError, match=r"pip install popgrad\[tensorboard\]"):
        Events(tmp_path, space)


def test_a_minimised_metric_is_written_as_it_was_evaluated(tmp_path, segments, space):
    low = replace(segments[0], score=-0.25, metrics={"loss": 0.25})
    Events(tmp_path / "events", space, "-loss").segment(low, LOGGED)
    assert read(tmp_path / "events" / "member-00")["score/loss"] == [(10, 0.25)]
