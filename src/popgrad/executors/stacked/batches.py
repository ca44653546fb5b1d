"""The minibatches of a stack: for each row, those that its member sees when it trains alone."""

from collections.abc import Sequence

import torch

from popgrad.executors.stacked.template import RowStart, refusal
from popgrad.tasks.order import batch, permutation
from popgrad.tasks.torch_task import Batch, TorchTask


class Batches:
    """The batches of a segment, in order.

    Args:
        task: Task with the data.
        starts: [N] start of each row. All begin at the same position in an epoch; in the same epoch
            too if the order is shared by all members.
        device: Device of the batches.

    Attributes:
        sizes: Samples of each step's batch.
        kinds: Samples of every batch that this segment or a whole epoch has.
        position: Samples behind each row's last step.
    """

    def __init__(self, task: TorchTask, starts: Sequence[RowStart], device: torch.device) -> None:
        self._task = task
        self._starts = starts
        self._tensors = task.split("train", device)
        self._samples = len(self._tensors[0])
        self._device = device

        size, *others = {task.samples_a_step(start.hparams) for start in starts}
        if others:
            raise refusal("they differ in batch_size")
        positions = [start.state["position"] for start in starts]
        position = positions[0]
        self._places: list[tuple[int, int, int]] = []  # (epoch, start, stop) of each step
        for _ in range(starts[0].assignment.steps):
            place = batch(position, self._samples, size, drop_last=task.drop_last)
            position = place[0] * self._samples + place[2]
            self._places.append(place)
        self.sizes = [stop - start for _, start, stop in self._places]
        self.kinds = frozenset({*self.sizes, *_epoch_sizes(task, self._samples, size)})
        self.position = [own + position - positions[0] for own in positions]

        # Epochs that each row is ahead of the first one.
        self._ahead = [(own - positions[0]) // self._samples for own in positions]
        self._epoch = -1
        self._orders = torch.empty(0)
        seeds = [start.ctx.library_seed("augment") for start in starts] if task.augment else []
        self._augment_streams = [torch.Generator().manual_seed(seed) for seed in seeds]

    def step(self, number: int) -> tuple[Batch, tuple[int | None, ...]]:
        """Return the batch of a step. Steps come in order, from 0.

        Returns:
            The tensors of the batch, and the dimension of the rows in each: 0 for [N, b, ...], None
            for [b, ...], which is for all rows.
        """
        epoch, start, stop = self._places[number]
        if epoch != self._epoch:
            self._epoch = epoch
            self._orders = self._order(epoch)

        rows = self._orders[..., start:stop]
        dims: list[int | None] = [0 if rows.ndim > 1 else None] * len(self._tensors)
        tensors = [
            x.index_select(0, rows.reshape(-1)).view(*rows.shape, *x.shape[1:])
            for x in self._tensors
        ]
        augment = self._task.augment
        if augment is not None:
            streams = self._augment_streams
            inputs = tensors[0] if rows.ndim > 1 else [tensors[0]] * len(streams)
            pairs = zip(inputs, streams, strict=True)
            tensors[0] = torch.stack([augment(own, generator) for own, generator in pairs])
            dims[0] = 0
        return tuple(tensors), tuple(dims)

    def _order(self, epoch: int) -> torch.Tensor:
        """Return the order of an epoch of the first row: [N, samples], or [samples] if all rows share it."""
        if not self._task.shuffle:
            return torch.arange(self._samples, device=self._device)
        if self._task.shared_order:
            seed = self._starts[0].ctx.epoch_seed(epoch, shared=True)
            return permutation(self._samples, seed).to(self._device)

        # Equal orders occur by coincidence, or since all rows repeat one. Bits must not depend on
        # that, so it is not exploited.
        rows = zip(self._starts, self._ahead, strict=True)
        seeds = [start.ctx.epoch_seed(epoch + ahead) for start, ahead in rows]
        # int32 takes half the memory: there are as many numbers as members times samples.
        orders = torch.stack([permutation(self._samples, seed).int() for seed in seeds])
        return orders.to(self._device)


def _epoch_sizes(task: TorchTask, samples: int, size: int) -> set[int]:
    """Return the sizes of the batches of an epoch."""
    last = samples % size
    if samples < size or task.drop_last or not last:
        return {min(samples, size)}
    return {size, last}
