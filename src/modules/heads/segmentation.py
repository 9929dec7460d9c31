"""Puts decoders of segmentation_models_pytorch on a student's maps."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from ...errors import InputError
from ...ranges import Number
from ..backbones.base import Level, SparseOutput
from .base import DenseOutput, Head, TaskTarget
from .pyramid import Pyramid

try:
    from segmentation_models_pytorch.decoders.fpn.decoder import FPNDecoder
    from segmentation_models_pytorch.decoders.upernet.decoder import UPerNetDecoder
except ImportError as error:
    raise InputError(
        "segmentation heads need segmentation-models-pytorch: pip install 'tokenthrift[dense]'"
    ) from error


class SegmentationHead(Head):
    """Classifies pixels by a decoder to stride 4, a 1x1 convolution and bilinear enlargement."""

    task = "segmentation"
    ranges = {
        "channels": Number(128, least=1, whole=True),
    }

    def __init__(self, levels: Sequence[Level], num_classes: int, channels: int) -> None:
        """Make the head.

        Args:
            levels: The backbone's maps.
            num_classes: Outputs for each pixel.
            channels: Width of the decoder's output.
        """
        super().__init__()
        self.pyramid = Pyramid(levels)
        self.decoder = self.make_decoder(self.pyramid.channels, channels)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    @abstractmethod
    def make_decoder(self, inputs: list[int], channels: int) -> nn.Module:
        """Make the library's decoder for maps of `inputs` channels at strides 4, 8, 16, 32."""

    @abstractmethod
    def decode(self, maps: list[Tensor]) -> Tensor:
        """Decode maps to `(B, channels, H/4, W/4)`."""

    @override
    def every_position(self, maps: tuple[Tensor, ...]) -> Tensor:
        logits: Tensor = self.classifier(self.decode(self.pyramid(maps)))
        return logits

    @override
    def forward(
        self, output: SparseOutput, images: Tensor, target: TaskTarget | None = None
    ) -> DenseOutput:
        logits = self.every_position(output.maps)
        logits = F.interpolate(logits, images.shape[-2:], mode="bilinear")
        return DenseOutput(output, logits)


class SemanticFPN(SegmentationHead):
    """Segments by Semantic FPN (Kirillov et al., arXiv:1901.02446)."""

    def make_decoder(self, inputs: list[int], channels: int) -> nn.Module:
        """Make a decoder with a pyramid twice as wide as its output."""
        if channels % 32:
            raise InputError(f"head.channels={channels} must be a multiple of 32, as 128.")
        return FPNDecoder(inputs, pyramid_channels=2 * channels, segmentation_channels=channels)

    def decode(self, maps: list[Tensor]) -> Tensor:
        """Decode maps, each padded to twice the size of the next, and crop the result."""
        height, width = maps[0].shape[-2:]
        last = len(maps) - 1
        rows, columns = (-(-side // 2**last) for side in (height, width))
        padded = [
            F.pad(m, (0, (columns << last - i) - m.shape[-1], 0, (rows << last - i) - m.shape[-2]))
            for i, m in enumerate(maps)
        ]
        decoded: Tensor = self.decoder(padded)
        return decoded[..., :height, :width]


class UPerNet(SegmentationHead):
    """Segments by UPerNet (Xiao et al., arXiv:1807.10221), as Swin's and ConvNeXt's papers."""

    def make_decoder(self, inputs: list[int], channels: int) -> nn.Module:
        """Make a decoder with a pyramid as wide as its output."""
        # The decoder does not read maps of the strides 1 and 2.
        return UPerNetDecoder((0, 0, *inputs), decoder_channels=channels)

    def decode(self, maps: list[Tensor]) -> Tensor:
        """Decode maps of any size, which are resized bilinearly."""
        if self.training and len(maps[0]) == 1:
            raise InputError(
                "head=upernet normalizes over the batch: train with a datamodule.batch_size of at "
                "least 2, or head=semantic_fpn."
            )
        decoded: Tensor = self.decoder([maps[0], maps[0], *maps])
        return decoded
