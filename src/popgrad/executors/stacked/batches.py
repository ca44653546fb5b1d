"""The minibatches of a stack: for each row those that its member sees when it trains alone."""

from collections.abc import Sequence

import torch

from popgrad.executors.stacked.template import Start, refusal
from popgrad.tasks.order import batch, permutation
from popgrad.tasks.torch_task import Batch, TorchTask


class Batches:
    """A segment's batches, one after the other.

    Args:
        task: Whose data.
        starts: Each row's segment, N of them; all begin at the same place in an epoch, and in one epoch
            where the order is for all.
        device: Where the batches go.

    Attributes:
        sizes: Samples of each step's batch.
        position: Samples behind each row's last step.
    """

    def __init__(self, task: TorchTask, starts: Sequence[Start], device: torch.device) -> None:
        self._task, self._starts, self._tensors = task, starts, task.split("train", device)
        self._samples, self._device = len(self._tensors[0]), device
        size, *others = {task.samples_a_step(start.hparams) for start in starts}
        if others:
            raise refusal("they differ in batch_size")
        own = [start.state["position"] for start in starts]
        position, self._places = own[0], []
        for _ in range(starts[0].assignment.steps):
            place = batch(position, self._samples, size, drop_last=task.drop_last)
            position = place[0] * self._samples + place[2]
            self._places.append(place)
        self.sizes = [stop - start for _, start, stop in self._places]
        self.position = [each + position - own[0] for each in own]
        self._ahead = [(each - own[0]) // self._samples for each in own]  # epochs, of the first row
        self._epoch, self._orders = -1, torch.empty(0)
        seeds = [start.ctx.library_seed("augment") for start in starts] if task.augment else []
        self._images = [torch.Generator().manual_seed(seed) for seed in seeds]

    def step(self, number: int) -> tuple[Batch, tuple[int | None, ...]]:
        """The batch of a step, and for each tensor of it: 0 = [N, b, ...], None = [b, ...], for all rows.

        Steps come in order, from 0.
        """
        epoch, start, stop = self._places[number]
        if epoch != self._epoch:
            self._epoch, self._orders = epoch, self._order(epoch)
        rows = self._orders[..., start:stop]
        dims: list[int | None] = [0 if rows.ndim > 1 else None] * len(self._tensors)
        found = [
            x.index_select(0, rows.reshape(-1)).view(*rows.shape, *x.shape[1:])
            for x in self._tensors
        ]
        if self._images:
            each = found[0] if rows.ndim > 1 else [found[0]] * len(self._images)
            augment = self._task.augment
            assert augment is not None
            found[0] = torch.stack(
                [augment(*both) for both in zip(each, self._images, strict=True)]
            )
            dims[0] = 0
        return tuple(found), tuple(dims)

    def _order(self, epoch: int) -> torch.Tensor:
        """[N, samples] the order of an epoch, as the first row counts; [samples] where all are alike."""
        if not self._task.shuffle:
            return torch.arange(self._samples, device=self._device)
        if self._task.shared_order:
            seed = self._starts[0].ctx.epoch_seed(epoch, shared=True)
            return permutation(self._samples, seed).to(self._device)
        # Alike only by chance, or since all rows repeat one: bits must not depend on that, so it is not used.
        both = zip(self._starts, self._ahead, strict=True)
        seeds = [start.ctx.epoch_seed(epoch + ahead) for start, ahead in both]
        # Half the memory: they are as many as the members times the samples.
        return torch.stack([permutation(self._samples, seed).int() for seed in seeds]).to(
            self._device
        )
