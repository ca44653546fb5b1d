"""The card of a segment: everything that is recorded of it."""

from popgrad.core.segment import Segment, Telemetry
from popgrad.views.plain import Json, plain, plain_number


def card(
    segment: Segment,
    telemetry: Telemetry,
    parent: Segment | None,
    *,
    checkpoint: bool | None = None,
    replay: str = "",
) -> Json:
    """Return everything that is recorded of a segment.

    Args:
        segment: The segment.
        telemetry: Its telemetry.
        parent: Segment that it started from; None = it is fresh.
        checkpoint: Whether its final state lies in a checkpoint; None = not known.
        replay: Command that trains it again; "" = there is none.
    """
    return {
        "member": segment.member,
        "interval": segment.interval,
        "source": segment.source,
        "hparams": plain(segment.hparams),
        "changes": plain(segment.changes),
        "parent_hparams": None if parent is None else plain(parent.hparams),
        "first_step": segment.first_step,
        "last_step": segment.last_step,
        "samples": segment.samples,
        "length": segment.length,
        "score": plain_number(segment.score),
        "metrics": plain(segment.metrics),
        "metric_samples": plain(segment.metric_samples),
        "evaluations": [[each.step, plain(each.metrics)] for each in segment.evaluations],
        "transform": None if segment.transform is None else segment.transform.name,
        "transform_settings": {}
        if segment.transform is None
        else plain(segment.transform.settings),
        "role": segment.role,
        "status": segment.status,
        "error": segment.error,
        "digest": segment.digest,
        "checkpoint": checkpoint,
        "seconds": plain_number(telemetry.seconds),
        "began": None if telemetry.began is None else plain_number(telemetry.began),
        "worker": telemetry.worker,
        "replay": replay,
    }
