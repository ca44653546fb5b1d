"""Images changed at random as they are trained on: shifts and flips, each image on its own."""

import math
from dataclasses import dataclass

import torch
from torch.nn import functional

from popgrad.core.errors import UsageError


@dataclass(frozen=True)
class Augment:
    """Random shifts and flips of a batch of images; with everything off, the batch as it is.

    Attributes:
        crop: 1 = shift each image, 0 = do not.
        crop_shift: By up to how many pixels each way, at least 0; every shift is as likely as any other.
        hflip: Mirror left and right with probability 1/2.
        vflip: Mirror top and bottom with probability 1/2.
        background: What is shifted in, as a value of the images that are given: a black pixel of normalised
            images is (0 - mean) / std.

    Raises:
        UsageError: A value is not one of these.
    """

    crop: int = 0
    crop_shift: int = 0
    hflip: bool = False
    vflip: bool = False
    background: float = 0.0

    def __post_init__(self) -> None:
        for name in ("crop", "hflip", "vflip"):
            if getattr(self, name) not in (0, 1):
                raise UsageError(f"{name} is {getattr(self, name)!r}: 0 (off) or 1 (on) is allowed")
        shift = self.crop_shift
        if isinstance(shift, bool) or not isinstance(shift, int) or shift < 0:
            raise UsageError(f"crop_shift is {shift!r}: a whole number of pixels from 0 is allowed")
        if not isinstance(self.background, int | float) or not math.isfinite(self.background):
            raise UsageError(f"background is {self.background!r}: a finite number is allowed")

    def __call__(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Another batch of the same shape; the same tensor when everything is off.

        Args:
            images: [b, channels, height, width] floats, on any device; they are not changed.
            generator: Consumed, by nothing that is off. It may be on another device than the images: one on
                the CPU draws the same for images anywhere.

        Raises:
            UsageError: `images` is something else, or smaller than the shift.
        """
        shift = self.crop_shift if self.crop else 0
        if not (shift or self.hflip or self.vflip):
            return images
        _check(images, shift)
        padded = functional.pad(images, (shift,) * 4, value=self.background)
        batch, channels, *sizes = images.shape
        # Row y of the result is row rows[y] of the padded image, for each image; columns alike.
        rows, columns = (
            _sources(batch, size, shift, flip, generator).to(images.device)
            for size, flip in zip(sizes, (self.vflip, self.hflip), strict=True)
        )
        pixels = (rows * padded.shape[3])[:, :, None] + columns[:, None, :]
        wanted = pixels.reshape(batch, 1, -1).expand(-1, channels, -1)
        return padded.reshape(batch, channels, -1).gather(2, wanted).reshape(images.shape)


def _sources(
    batch: int, size: int, shift: int, flip: bool, generator: torch.Generator
) -> torch.Tensor:
    """[b, size] which row (or column) of the padded image each one of the result is."""
    sources = torch.arange(shift, shift + size, device=generator.device).expand(batch, size)
    if shift:
        sources = sources - _draw(-shift, shift, batch, generator)
    if flip:
        last = size - 1 + 2 * shift
        sources = torch.where(_draw(0, 1, batch, generator) == 1, last - sources, sources)
    return sources


def _draw(low: int, high: int, batch: int, generator: torch.Generator) -> torch.Tensor:
    """[b, 1] whole numbers from low to high, both included."""
    return torch.randint(low, high + 1, (batch, 1), generator=generator, device=generator.device)


def _check(images: torch.Tensor, shift: int) -> None:
    if images.dim() != 4 or not images.is_floating_point():
        raise UsageError(
            f"images are {images.dtype} of shape {list(images.shape)}: shifts and flips need floats of shape "
            "[batch, channels, height, width]"
        )
    smallest = min(images.shape[2:])
    if shift >= smallest:
        raise UsageError(
            f"crop_shift is {shift}: images of {images.shape[2]} x {images.shape[3]} pixels can be shifted "
            f"by 0 to {smallest - 1}"
        )
