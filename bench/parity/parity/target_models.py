"""The models of `targets`: what each gives beside class scores, and the number that is asked of it."""

import numpy as np
import timm
import torch
import torchvision.models.detection as detection
from torch import nn
from torchvision.ops import roi_align

from .zoo import Entry


class Wrapped(nn.Module):
    """A model by what `f` takes of it."""

    def __init__(self, net, f):
        super().__init__()
        self.net, self.f = net, f

    def forward(self, *x):
        return self.f(self.net, *x)


def box(scores):
    """The greatest class score of all boxes; `scores` cuts `[N, boxes, classes]` out of the model's output."""

    def ask(out):
        all_scores = scores(out)[0]
        anchor, target = divmod(int(all_scores.argmax()), all_scores.shape[1])
        return f"box:{anchor}:{target}", lambda out: scores(out)[0, anchor, target]

    return ask


def element(name, of):
    """The greatest element of an output."""

    def ask(out):
        index = np.unravel_index(int(of(out)[0].argmax()), of(out)[0].shape)
        return f"output:{name}[{','.join(map(str, index))}]", lambda out: of(out)[0][tuple(index)]

    return ask


def similar(folder, name):
    """The cosine to a random embedding."""

    def ask(out):
        to = torch.randn(out.shape[1], generator=torch.Generator().manual_seed(9)) + out[0]
        path = folder / f"{name}.npy"
        np.save(path, to.numpy())
        return f"similar:{path}", lambda out: nn.functional.cosine_similarity(out[0], to.to(out.dtype), dim=0)

    return ask


def class_scores(net, x):
    """The class scores of the boxes that the first stage of a detector proposes for one image."""
    found = {}
    hook = net.roi_heads.box_predictor.register_forward_hook(lambda m, i, out: found.update(scores=out[0]))
    net([x[0]])
    hook.remove()
    return found["scores"]


class Yolo(nn.Module):
    """A raw head as YOLOv8 (`[N, 4+classes, boxes]`) or YOLOv5 (`[N, boxes, 5+classes]`) has it, over two grids."""

    def __init__(self, transposed):
        super().__init__()
        self.transposed = transposed
        block = lambda i, o: nn.Sequential(nn.Conv2d(i, o, 3, 2, 1), nn.BatchNorm2d(o), nn.SiLU())
        self.stem = nn.Sequential(block(3, 16), block(16, 32), block(32, 48))
        self.deep = block(48, 64)
        self.up = nn.Upsample(scale_factor=2)
        numbers = 4 + 6 if transposed else 5 + 6
        self.fine, self.coarse = nn.Conv2d(48 + 64, numbers, 1), nn.Conv2d(64, numbers, 1)

    def forward(self, x):
        fine = self.stem(x)
        coarse = self.deep(fine)
        fine = torch.cat([fine, self.up(coarse)], 1)
        out = torch.cat([self.fine(fine).flatten(2), self.coarse(coarse).flatten(2)], 2)
        if self.transposed:
            boxes, classes = out.split([4, 6], 1)
            return torch.cat([boxes.exp(), classes.sigmoid()], 1)
        boxes, rest = out.transpose(1, 2).split([4, 7], 2)
        return torch.cat([boxes.exp(), rest.sigmoid()], 2)


class FastRcnn(nn.Module):
    """Class scores of regions that a second input gives, of one grid (Girshick 2015), by RoIAlign."""

    def __init__(self):
        super().__init__()
        block = lambda i, o: nn.Sequential(nn.Conv2d(i, o, 3, 2, 1), nn.BatchNorm2d(o), nn.ReLU())
        self.body = nn.Sequential(block(3, 16), block(16, 32), block(32, 32))
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(32 * 7 * 7, 64), nn.ReLU(), nn.Linear(64, 9))

    def forward(self, x, boxes):
        # Images are of one size; boxes `[R, 5]` begin with the number of their image.
        return self.head(roi_align(self.body(x), boxes, 7, 1 / 8, 2, True))


class Recurrent(nn.Module):
    """An image's rows as a sequence beside an embedded word, through an LSTM of both directions and a GRU; two outputs."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 12, 3, 2, 1), nn.ReLU(), nn.Conv2d(12, 8, 3, 2, 1), nn.ReLU())
        self.words = nn.Embedding(10, 24)
        self.lstm = nn.LSTM(8 * 12, 24, bidirectional=True, batch_first=True)
        self.gru = nn.GRU(48, 20, batch_first=True)
        self.head, self.other = nn.Linear(20 + 24, 7), nn.Linear(48, 5)

    def forward(self, x, word):
        rows = self.body(x).permute(0, 2, 3, 1).flatten(2)
        rows, _ = self.lstm(rows)
        _, last = self.gru(rows)
        return self.head(torch.cat([last[-1], self.words(word)], 1)), self.other(rows)


def entries(folder):
    """Models, and the engine that is asked."""
    yield Entry("targets", "yolo, boxes last", lambda: Yolo(True), ask=box(lambda out: out[:, 4:].transpose(1, 2))), "rten"
    yield Entry("targets", "yolo, boxes first", lambda: Yolo(False), ask=box(lambda out: out[..., 5:])), "rten"
    boxes = lambda: {"boxes": torch.tensor([[0.0, 3.2, 5.1, 60.7, 71.9], [0.0, 20.5, 0.0, 95.0, 40.3], [0.0, -4.0, 50.0, 33.0, 99.0]])}
    whole = element("scores", lambda out: out[None])
    yield Entry("targets", "fast r-cnn", FastRcnn, more=boxes, outputs=("scores",), ask=whole), "ort"
    for name, side in (("vit_base_patch32_clip_224", 128), ("vit_small_patch16_224.dino", 64), ("resnet50_clip.openai", 128)):
        more = {"img_size": side} if name.startswith("vit") else {}
        build = lambda name=name, more=more: timm.create_model(name, pretrained=False, **({"num_classes": 0} | more))
        yield Entry("targets", name, build, (1, 3, side, side), ask=similar(folder, name)), "rten"
    word = lambda: {"word": torch.tensor([3])}
    yield Entry("targets", "lstm and gru", Recurrent, (1, 3, 48, 48), more=word), "rten"
    other = element("other", lambda out: out[1])
    yield Entry("targets", "lstm, other output", Recurrent, (1, 3, 48, 48), more=word, outputs=("scores", "other"), ask=other), "rten"
    for name in ("fasterrcnn_mobilenet_v3_large_320_fpn", "fasterrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn"):
        few = {"min_size": 96, "max_size": 96, "rpn_pre_nms_top_n_test": 60, "rpn_post_nms_top_n_test": 12, "image_mean": [0, 0, 0], "image_std": [1, 1, 1]}
        build = lambda name=name, few=few: Wrapped(getattr(detection, name)(weights=None, weights_backbone=None, **few), class_scores)
        # No other exporter takes them: sizes depend on data.
        yield Entry("targets", name, build, exporters=("legacy",), outputs=("scores",), ask=whole), "ort"
