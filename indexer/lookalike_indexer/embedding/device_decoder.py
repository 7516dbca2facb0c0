"""JPEG decoding on the device of the network: on GPUs by nvJPEG, through torchvision.

An H100 decodes nine times as many images a second as its sixteen CPU cores. The pixels differ slightly from Pillow's,
because nvJPEG upsamples chroma differently, and a GPU's resizing rounds differently.
"""

from __future__ import annotations

import functools
import io
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TypeVar

import torch
from PIL import Image
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms.v2 import functional
from torchvision.transforms.v2.functional import InterpolationMode

from lookalike_indexer.collection.spec import PreprocessingSpec
from lookalike_indexer.errors import DeviceError
from lookalike_indexer.images.prepare import Encoded, Prepared, Rejected
from lookalike_indexer.images.preprocessing import corner, resized
from lookalike_indexer.images.workers import DecodePool, Passed
from lookalike_indexer.models.network import device_errors

T = TypeVar("T")

# The number of pixels decoded at once: they take 192 MiB, and as much again while they are resized.
_PIXELS = 64 << 20
# Errors of the device, not of an image.
_LOST = (torch.OutOfMemoryError, torch.AcceleratorError)


@dataclass(frozen=True)
class OnDevice:
    """An image in the form that the network takes, on its device: uint8 (3, crop, crop); see `Prepared` for the other
    fields.
    """

    pixels: Tensor
    format: str
    width: int
    height: int
    bytes: int
    sha256: str = ""


Ready = Prepared | OnDevice | Rejected


class DeviceDecoder:
    """Decodes, resizes and crops on a device. The workers of a pool decode images that the device cannot decode."""

    def __init__(self, device: str, spec: PreprocessingSpec, pool: DecodePool, batch: int) -> None:
        self._device, self._spec, self._pool, self._batch = torch.device(device), spec, pool, batch

    @functools.cached_property
    def _side(self) -> torch.cuda.Stream | None:
        """A side stream on a GPU for the memory of decoded images, with no pending work when decoding begins.

        torchvision decodes on its own stream into memory of the current stream, without waiting for that stream's
        pending work. This has produced embeddings that were not finite.
        """
        # torch annotates the class, but not its __new__. The annotated torch.Stream has not been tested on a GPU.
        return torch.cuda.Stream(self._device) if self._device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def stream(self, images: Iterable[tuple[T, Passed]]) -> Iterator[tuple[T, Ready]]:
        """Yield the same images in the same order; encoded ones are decoded in batches."""
        waiting: list[tuple[T, Passed]] = []
        pixels = 0
        for tag, image in images:
            if not waiting and not isinstance(image, Encoded):
                yield tag, image
                continue
            waiting.append((tag, image))
            pixels += image.width * image.height if isinstance(image, Encoded) else 0
            if len(waiting) >= self._batch or pixels >= _PIXELS:
                yield from self._decoded(waiting)
                waiting, pixels = [], 0
        yield from self._decoded(waiting)

    def _decoded(self, images: list[tuple[T, Passed]]) -> Iterator[tuple[T, Ready]]:
        pictures = [image for _, image in images if isinstance(image, Encoded)]
        done = iter(self._all(pictures))
        for tag, image in images:
            yield tag, next(done) if isinstance(image, Encoded) else image

    def _all(self, pictures: Sequence[Encoded]) -> list[Ready]:
        with device_errors(self._device, len(pictures)), torch.inference_mode(), torch.cuda.stream(self._side):
            if self._side is not None:
                self._side.synchronize()
            squares = self._squares(self._planes(pictures))
        if self._side is not None:
            self._hand_over(squares, self._side)
        failed = [number for number, square in enumerate(squares) if square is None]
        instead = iter(self._pool.prepare([pictures[number].data for number in failed]))
        return [
            next(instead)
            if square is None
            else OnDevice(square, "JPEG", picture.width, picture.height, len(picture.data), picture.sha256)
            for picture, square in zip(pictures, squares, strict=True)
        ]

    def _hand_over(self, squares: Sequence[Tensor | None], side: torch.cuda.Stream) -> None:
        """Make the network's stream wait for the decoded squares, and their memory wait for that stream."""
        network = torch.cuda.current_stream(self._device)
        network.wait_stream(side)
        for square in squares:
            if square is not None:
                square.record_stream(network)

    def _planes(self, pictures: Sequence[Encoded]) -> list[Tensor | None]:
        """Return uint8 (3, height, width) for each image; None if the device cannot decode it."""
        # Copy the bytes, because torch expects writable memory.
        data = [torch.frombuffer(bytearray(picture.data), dtype=torch.uint8) for picture in pictures]
        try:
            return list(self._decode(data))
        except _LOST:
            raise
        except RuntimeError:
            self._check()
            # One image of the batch is at fault; decode each of them alone.
            return [self._alone(one) for one in data]

    def _alone(self, data: Tensor) -> Tensor | None:
        try:
            return self._decode([data])[0]
        except _LOST:
            raise
        except RuntimeError:
            return None

    def _check(self) -> None:
        """Raise DeviceError if even a valid JPEG cannot be decoded, so that the CPU does not silently take over."""
        good = io.BytesIO()
        Image.new("RGB", (16, 16)).save(good, "JPEG")
        if self._alone(torch.frombuffer(bytearray(good.getvalue()), dtype=torch.uint8)) is None:
            raise DeviceError(
                f"{self._device} decodes no JPEGs: this torchvision has no nvJPEG, or one for another GPU; "
                "leave out --decode gpu."
            )

    def _decode(self, data: list[Tensor]) -> list[Tensor]:
        with warnings.catch_warnings():
            # torchvision 0.29 recommends torchcodec instead, which does not support the oldest supported torch.
            warnings.simplefilter("ignore", DeprecationWarning)
            found: list[Tensor] = decode_jpeg(data, mode=ImageReadMode.RGB, device=self._device) if data else []
        return found

    def _squares(self, planes: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Resize and crop each image. Consecutive images of one size form a batch: a kernel launch is expensive."""
        squares: list[Tensor | None] = []
        for shape, group in groupby(planes, key=lambda each: None if each is None else each.shape):
            alike = list(group)
            there = [each for each in alike if each is not None]
            squares.extend(self._square(torch.stack(there)).unbind() if shape else alike)
        return squares

    def _square(self, pictures: Tensor) -> Tensor:
        height, width = pictures.shape[-2:]
        width, height = resized(width, height, self._spec.resize)
        interpolation = InterpolationMode(self._spec.interpolation)
        scaled = functional.resize(pictures, [height, width], interpolation=interpolation, antialias=True)
        left, top = corner(width, height, self._spec)
        # Pixels outside of the image are black, as on the CPU.
        square: Tensor = functional.crop(scaled, top, left, self._spec.crop, self._spec.crop)
        return square
