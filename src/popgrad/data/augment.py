"""Random shifts and flips of training images, each image on its own."""

import math
from dataclasses import dataclass

import torch
from torch.nn import functional

from popgrad.core.errors import UsageError


@dataclass(frozen=True)
class Augment:
    """Random shifts and flips of a batch of images; the batch is unchanged if everything is off.

    Attributes:
        crop: 1 = shift each image, 0 = do not.
        crop_shift: Largest shift in pixels each way, at least 0; all shifts are equally likely.
        hflip: Mirror left and right with probability 1/2.
        vflip: Mirror top and bottom with probability 1/2.
        background: Value of the pixels shifted in, on the scale of the images: a black pixel of
            normalised images is (0 - mean) / std.

    Raises:
        UsageError: A value is not one of these.

    Example:
        >>> augment = Augment(crop=1, crop_shift=2, hflip=True)
        >>> images = torch.rand(8, 1, 28, 28)
        >>> augment(images, torch.Generator().manual_seed(0)).shape
        torch.Size([8, 1, 28, 28])
    """

    crop: int = 0
    crop_shift: int = 0
    hflip: bool = False
    vflip: bool = False
    background: float = 0.0

    def __post_init__(self) -> None:
        for name in ("crop", "hflip", "vflip"):
            if getattr(self, name) not in (0, 1):
                raise UsageError(f"{name}: expected 0 (off) or 1 (on), got {getattr(self, name)!r}")
        shift = self.crop_shift
        if isinstance(shift, bool) or not isinstance(shift, int) or shift < 0:
            raise UsageError(f"crop_shift: expected an integer of pixels from 0, got {shift!r}")
        if not isinstance(self.background, int | float) or not math.isfinite(self.background):
            raise UsageError(f"background: expected a finite number, got {self.background!r}")

    def __call__(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Return a changed batch of the same shape; the same tensor if everything is off.

        Args:
            images: [b, channels, height, width] floats, on any device; they are not changed.
            generator: Generator to draw from; it is consumed only by what is on. It may be on
                another device than the images: on the CPU it draws the same for images anywhere.

        Raises:
            UsageError: `images` has another shape or type, or is smaller than the shift.
        """
        shift = self.crop_shift if self.crop else 0
        if not (shift or self.hflip or self.vflip):
            return images
        _check(images, shift)

        # For each image, row y of the result is row rows[y] of the padded image; so with columns.
        padded = functional.pad(images, (shift,) * 4, value=self.background)
        batch, channels, *sizes = images.shape
        rows, columns = (
            _sources(batch, size, shift, flip, generator).to(images.device)
            for size, flip in zip(sizes, (self.vflip, self.hflip), strict=True)
        )

        pixels = (rows * padded.shape[3])[:, :, None] + columns[:, None, :]
        sources = pixels.reshape(batch, 1, -1).expand(-1, channels, -1)
        return padded.reshape(batch, channels, -1).gather(2, sources).reshape(images.shape)


def _sources(
    batch: int, size: int, shift: int, flip: bool, generator: torch.Generator
) -> torch.Tensor:
    """Return [b, size]: the row (or column) of the padded image for each one of the result."""
    sources = torch.arange(shift, shift + size, device=generator.device).expand(batch, size)
    if shift:
        sources = sources - _draw(-shift, shift, batch, generator)
    if flip:
        last = size - 1 + 2 * shift
        sources = torch.where(_draw(0, 1, batch, generator) == 1, last - sources, sources)
    return sources


def _draw(low: int, high: int, batch: int, generator: torch.Generator) -> torch.Tensor:
    """Draw [b, 1] integers from low to high, both included."""
    return torch.randint(low, high + 1, (batch, 1), generator=generator, device=generator.device)


def _check(images: torch.Tensor, shift: int) -> None:
    if images.dim() != 4 or not images.is_floating_point():
        raise UsageError(
            "images: expected floats of shape [batch, channels, height, width] to shift and flip, "
            f"got {images.dtype} of shape {list(images.shape)}"
        )

    smallest = min(images.shape[2:])
    if shift >= smallest:
        raise UsageError(
            f"crop_shift: expected 0 to {smallest - 1} for images of "
            f"{images.shape[2]} x {images.shape[3]} pixels, got {shift}"
        )
