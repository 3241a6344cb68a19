"""torchvision's segmentation models, and its detectors up to what they say of every box: before boxes are chosen."""

from torch import nn

SEGMENTATION = """
    lraspp_mobilenet_v3_large deeplabv3_mobilenet_v3_large fcn_resnet50 deeplabv3_resnet50 fcn_resnet101 deeplabv3_resnet101
""".split()

# The side of the image: the SSDs' last maps have one cell there.
DETECTION = {
    "ssdlite320_mobilenet_v3_large": 320, "retinanet_resnet50_fpn": 128, "retinanet_resnet50_fpn_v2": 128, "fcos_resnet50_fpn": 128,
    "ssd300_vgg16": 300, "fasterrcnn_resnet50_fpn": 128, "fasterrcnn_mobilenet_v3_large_fpn": 128, "maskrcnn_resnet50_fpn": 128,
}  # fmt: skip


def build(name, **more):
    import torchvision.models as tv

    return tv.get_model(name, weights=None, weights_backbone=None, **more)


class Boxes(nn.Module):
    """A detector's logits per box and class, and its boxes."""

    def __init__(self, name):
        super().__init__()
        detector = build(name)
        self.backbone, self.head = detector.backbone, detector.head

    def forward(self, image):
        said = self.head(list(self.backbone(image).values()))
        return said["cls_logits"], said["bbox_regression"]


class Objectness(nn.Module):
    """A region proposal network's score of every anchor, per level of the pyramid."""

    def __init__(self, name):
        super().__init__()
        detector = build(name)
        self.backbone, self.head = detector.backbone, detector.rpn.head

    def forward(self, image):
        return tuple(self.head(list(self.backbone(image).values()))[0])


def segment(out):
    """The class with the most cells, summed over these."""
    scores = next(iter(out.values()))
    cells = scores[0].argmax(dim=0)
    target = int(cells.flatten().bincount().argmax())
    return f"segment:{target}", lambda out: next(iter(out.values()))[0, target][cells == target].sum()


def box(out):
    """The highest score of a class in a box."""
    logits = out[0][0]
    anchor, target = divmod(int(logits.argmax()), logits.shape[1])
    return f"box:{anchor}:{target}", lambda out: out[0][0, anchor, target]


def anchor(out):
    """The highest score of an anchor at the finest level."""
    a, y, x = (int(i) for i in (out[0][0] == out[0][0].max()).nonzero()[0])
    return f"output:objectness0[{a},{y},{x}]", lambda out: out[0][0, a, y, x]
