"""Puts torchvision's detectors on a feature pyramid over a student's maps.

The detectors' parts are called one by one: the images are normalized and of one size already, and
the student's output is needed beside the detections.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn
from torchvision.models import detection
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.ops.feature_pyramid_network import (
    ExtraFPNBlock,
    FeaturePyramidNetwork,
    LastLevelMaxPool,
    LastLevelP6P7,
)
from typing_extensions import override

from ...errors import InputError
from ...ranges import Number
from ..backbones.base import Level, SparseOutput
from .base import DenseOutput, Head, TaskTarget
from .pyramid import STRIDES, Pyramid

RATIOS = (0.5, 1.0, 2.0)  # height over width of the anchors
PROPOSALS, DETECTIONS = 1000, 100  # at most, of an image; GMACs are counted for as many
Found = tuple[dict[str, Tensor], tuple[dict[str, Tensor], ...]]  # losses, detections


class Neck(nn.Module):
    """Makes a feature pyramid (Lin et al., arXiv:1612.03144) of a student's maps."""

    def __init__(
        self,
        levels: Sequence[Level],
        strides: Sequence[int],
        channels: int,
        extra: ExtraFPNBlock,
    ) -> None:
        """Make one map for each of `strides`, and those that `extra` adds."""
        super().__init__()
        self.pyramid = Pyramid(levels, strides)
        self.fpn = FeaturePyramidNetwork(self.pyramid.channels, channels, extra)
        self.out_channels = channels

    def forward(self, maps: Sequence[Tensor]) -> dict[str, Tensor]:
        """Return maps `(B, out_channels, H, W)` under the names that torchvision expects."""
        named = OrderedDict((str(i), m) for i, m in enumerate(self.pyramid(maps)))
        features: dict[str, Tensor] = self.fpn(named)
        return features


class DetectionHead(Head):
    """Runs a detector of torchvision on a student's maps; class 0 is the background."""

    task = "detection"
    not_exported = (
        "how many boxes it gives depends on the image, which a graph of fixed shapes cannot hold; "
        "run it by predict or by the library, or export a classifier or a segmentation"
    )
    ranges = {
        "channels": Number(128, least=1, whole=True),
        "anchor": Number(4, above=0),
        "hidden": Number(1024, least=1, whole=True),
    }

    has_masks = False
    detector: Any

    @override
    def forward(
        self, output: SparseOutput, images: Tensor, target: TaskTarget | None = None
    ) -> DenseOutput:
        size = (images.shape[-2], images.shape[-1])
        features = self.detector.backbone(output.maps)
        losses, found = self.detect(features, ImageList(images, [size] * len(images)), target)
        return DenseOutput(output, losses=losses, detections=found)

    @abstractmethod
    def detect(
        self, features: dict[str, Tensor], images: ImageList, target: TaskTarget | None
    ) -> Found:
        """Return losses in training, detections at inference, from the pyramid's maps."""


class RetinaNet(DetectionHead):
    """Detects by RetinaNet (Lin et al., arXiv:1708.02002) on strides 8 to 128."""

    def __init__(
        self, levels: Sequence[Level], num_classes: int, channels: int, anchor: float
    ) -> None:
        """Make the detector.

        Args:
            levels: The backbone's maps.
            num_classes: Number of classes, the background included, which no anchor learns.
            channels: Width of the pyramid and of the head.
            anchor: Smallest anchor of each map, in strides.
        """
        super().__init__()
        neck = Neck(levels, STRIDES[1:], channels, LastLevelP6P7(channels, channels))
        sizes = tuple(
            tuple(anchor * stride * 2 ** (third / 3) for third in range(3))
            for stride in (*STRIDES[1:], 64, 128)
        )
        anchors = AnchorGenerator(sizes, (RATIOS,) * len(sizes))
        norm = partial(nn.GroupNorm, _groups(channels))
        count = anchors.num_anchors_per_location()[0]
        self.detector = detection.RetinaNet(
            neck,
            num_classes,
            anchor_generator=anchors,
            head=RetinaNetHead(channels, count, num_classes, norm_layer=norm),
            detections_per_img=DETECTIONS,
        )

    def detect(
        self, features: dict[str, Tensor], images: ImageList, target: TaskTarget | None
    ) -> Found:
        """Detect as torchvision's `RetinaNet.forward` does after its backbone."""
        net, maps = self.detector, list(features.values())
        outputs = net.head(maps)
        anchors = net.anchor_generator(images, maps)
        if self.training:
            return net.compute_loss(target, outputs, anchors), ()
        each = net.anchor_generator.num_anchors_per_location()[0]
        counts = [each * m.shape[-2] * m.shape[-1] for m in maps]
        by_map = {name: list(values.split(counts, dim=1)) for name, values in outputs.items()}
        anchors_by_map = [list(a.split(counts)) for a in anchors]
        found = net.postprocess_detections(by_map, anchors_by_map, images.image_sizes)
        return {}, tuple(found)

    @override
    def every_position(self, maps: tuple[Tensor, ...]) -> object:
        return self.detector.head(list(self.detector.backbone(maps).values()))


class RCNN(DetectionHead):
    """Defines what Faster and Mask R-CNN share: strides 4 to 64, proposals and boxes."""

    def parts(
        self, levels: Sequence[Level], num_classes: int, channels: int, anchor: float, hidden: int
    ) -> dict[str, Any]:
        """Return the arguments of torchvision's detectors.

        Args:
            levels: The backbone's maps.
            num_classes: Number of classes, the background included.
            channels: Width of the pyramid.
            anchor: Anchor of each map, in strides.
            hidden: Width of the box head.
        """
        sizes = tuple((anchor * stride,) for stride in (*STRIDES, 64))
        return {
            "backbone": Neck(levels, STRIDES, channels, LastLevelMaxPool()),
            "rpn_anchor_generator": AnchorGenerator(sizes, (RATIOS,) * len(sizes)),
            "box_head": TwoMLPHead(channels * 7 * 7, hidden),
            "box_predictor": FastRCNNPredictor(hidden, num_classes),
            "rpn_post_nms_top_n_test": PROPOSALS,
            "box_detections_per_img": DETECTIONS,
        }

    def detect(
        self, features: dict[str, Tensor], images: ImageList, target: TaskTarget | None
    ) -> Found:
        """Detect as torchvision's `GeneralizedRCNN.forward` does after its backbone."""
        net, sizes = self.detector, images.image_sizes
        proposals, losses = net.rpn(images, features, target)
        found, more = net.roi_heads(features, proposals, sizes, target)
        return losses | more, tuple(net.transform.postprocess(found, sizes, sizes))

    @override
    def every_position(self, maps: tuple[Tensor, ...]) -> object:
        net = self.detector
        features = list(net.backbone(maps).values())
        regions = features[0].new_empty(PROPOSALS, features[0].shape[1], 7, 7)
        made = [net.rpn.head(features), net.roi_heads.box_head(regions)]
        if self.has_masks:
            inner = features[0].new_empty(DETECTIONS, features[0].shape[1], 14, 14)
            made.append(net.roi_heads.mask_predictor(net.roi_heads.mask_head(inner)))
        return made


class FasterRCNN(RCNN):
    """Detects by Faster R-CNN (Ren et al., arXiv:1506.01497)."""

    def __init__(
        self, levels: Sequence[Level], num_classes: int, channels: int, anchor: float, hidden: int
    ) -> None:
        """Make the detector; arguments as in `RCNN.parts`."""
        super().__init__()
        parts = self.parts(levels, num_classes, channels, anchor, hidden)
        self.detector = detection.FasterRCNN(**parts)


class MaskRCNN(RCNN):
    """Detects objects and their masks by Mask R-CNN (He et al., arXiv:1703.06870)."""

    has_masks = True

    def __init__(
        self, levels: Sequence[Level], num_classes: int, channels: int, anchor: float, hidden: int
    ) -> None:
        """Make the detector; arguments as in `RCNN.parts`."""
        super().__init__()
        parts = self.parts(levels, num_classes, channels, anchor, hidden)
        self.detector = detection.MaskRCNN(
            mask_head=MaskRCNNHeads(channels, (channels,) * 4, 1),
            mask_predictor=MaskRCNNPredictor(channels, channels, num_classes),
            **parts,
        )


def _groups(channels: int) -> int:
    if channels % 8:
        raise InputError(f"head.channels={channels} must be a multiple of 8, as 256.")
    return channels // 8
