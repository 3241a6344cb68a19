"""The small networks: miniatures of the torchvision architectures, and nets that each stress one kind of operator.

`@golden(shape of the input, layer, ...)` registers a builder. `layer` is the automatic layer: a module path, or "last relu".
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Callable

import torch
import torch.nn.functional as F
import timm.models as tm
import torchvision.models as tv
from captum.testing.helpers.basic_models import BasicModel_ConvNet_One_Conv
from torch import nn
from torchvision.models.convnext import CNBlockConfig
from torchvision.models.googlenet import BasicConv2d, Inception
from torchvision.models.resnet import BasicBlock, Bottleneck
from torchvision.models.squeezenet import Fire
from torchvision.models.vgg import make_layers
from torchvision.ops import Conv2dNormActivation

CLASSES = 5


@dataclass(frozen=True)
class Spec:
    name: str
    build: Callable[[], nn.Module]
    shape: tuple[int, ...]  # N, C, H, W
    layer: str
    opset: int = 17  # of the older exporter
    batch_axis: bool = False  # the older exporter declares the batch axis symbolic
    classes: int = 2  # K
    scale: float = 1.0  # of the input
    integers: bool = False  # whole-number input and weights, so that ties occur
    grid: tuple[int, int] | None = None  # of a layer of tokens, or with its channels last
    rectifiers: bool = True  # without any, all rules are one


NETS: list[Spec] = []


def golden(shape, layer, **more):
    def add(build):
        NETS.append(Spec(build.__name__, build, shape, layer, **more))
        return build

    return add


def relu():
    return nn.ReLU(inplace=True)


class Chain(nn.Module):
    """features, avgpool, classifier: the shape of torchvision's AlexNet and VGG."""

    def __init__(self, features, grid, channels, hidden):
        super().__init__()
        self.features, self.avgpool = features, nn.AdaptiveAvgPool2d(grid)
        self.classifier = nn.Sequential(
            nn.Dropout(), nn.Linear(channels * grid[0] * grid[1], hidden), relu(),
            nn.Dropout(), nn.Linear(hidden, hidden), relu(), nn.Linear(hidden, CLASSES),
        )  # fmt: skip

    def forward(self, x):
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


def headed(shape, *body):
    """body, flatten, linear: every cell of the last grid has its own weights."""
    body = nn.Sequential(*body)
    with torch.no_grad():
        width = body.eval()(torch.zeros(shape)).flatten(1).shape[1]
    return nn.Sequential(OrderedDict(body=body, flatten=nn.Flatten(), fc=nn.Linear(width, CLASSES)))


class Fn(nn.Module):
    """A function as a module."""

    def __init__(self, f):
        super().__init__()
        self.f = f

    def forward(self, x):
        return self.f(x)


# ---- architectures ------------------------------------------------------------------------------------------------------------------


@golden((1, 3, 23, 19), "features.11")
def alexnet():
    pool = lambda: nn.MaxPool2d(3, 2)
    return Chain(
        nn.Sequential(
            nn.Conv2d(3, 6, 5, padding=2), relu(), pool(), nn.Conv2d(6, 8, 5, padding=2), relu(), pool(),
            nn.Conv2d(8, 12, 3, padding=1), relu(), nn.Conv2d(12, 8, 3, padding=1), relu(), nn.Conv2d(8, 8, 3, padding=1), relu(), pool(),
        ), (2, 1), 8, 16,
    )  # fmt: skip


VGG = [4, 4, "M", 6, 6, "M", 8, 8, 8, "M"]


@golden((1, 3, 24, 20), "features.15", opset=13)
def vgg16():
    return Chain(make_layers(VGG), (3, 2), 8, 16)


@golden((1, 3, 24, 20), "features.22")
def vgg16_bn():
    return Chain(make_layers(VGG, batch_norm=True), (3, 2), 8, 16)


class ResNet(tv.ResNet):
    """torchvision's forward pass over fewer channels; the last stage keeps its resolution."""

    def __init__(self, block, counts):
        nn.Module.__init__(self)
        self._norm_layer, self.inplanes, self.dilation, self.groups, self.base_width = nn.BatchNorm2d, 4, 1, 1, 64
        self.conv1, self.bn1, self.relu = nn.Conv2d(3, 4, 7, 2, 3, bias=False), nn.BatchNorm2d(4), relu()
        self.maxpool, self.avgpool = nn.MaxPool2d(3, 2, 1), nn.AdaptiveAvgPool2d((1, 1))
        for i, (width, count, stride) in enumerate(zip((4, 4, 6, 8), counts, (1, 2, 2, 1), strict=True), 1):
            setattr(self, f"layer{i}", self._make_layer(block, width, count, stride))
        self.fc = nn.Linear(self.inplanes, CLASSES)


@golden((2, 3, 18, 15), "layer4.1.relu", batch_axis=True)
def resnet18():
    return ResNet(BasicBlock, (2, 2, 2, 2))


@golden((1, 3, 22, 18), "layer4.0.relu")
def resnet50():
    return ResNet(Bottleneck, (2, 1, 2, 1))


class GoogLeNet(tv.GoogLeNet):
    """torchvision's forward pass with the input transform of its trained network; five modules and one pool are left out."""

    def __init__(self):
        nn.Module.__init__(self)
        self.aux_logits, self.transform_input, self.aux1, self.aux2 = False, True, None, None
        self.conv1 = BasicConv2d(3, 4, kernel_size=7, padding=3)
        self.conv2, self.conv3 = BasicConv2d(4, 4, kernel_size=1), BasicConv2d(4, 6, kernel_size=3, padding=1)
        self.maxpool1, self.maxpool2 = (nn.MaxPool2d(3, 2, ceil_mode=True) for _ in range(2))
        for name in ("inception3b", "maxpool3", "inception4b", "inception4c", "inception4d", "inception4e"):
            setattr(self, name, nn.Identity())
        self.inception3a, self.inception4a = Inception(6, 2, 3, 4, 2, 2, 2), Inception(10, 3, 3, 4, 2, 2, 2)
        self.maxpool4 = nn.MaxPool2d(2, 2, ceil_mode=True)
        self.inception5a, self.inception5b = Inception(11, 3, 3, 4, 2, 3, 2), Inception(12, 4, 3, 4, 2, 3, 3)
        self.avgpool, self.dropout, self.fc = nn.AdaptiveAvgPool2d((1, 1)), nn.Dropout(0.2), nn.Linear(14, CLASSES)


@golden((1, 3, 21, 18), "inception5b")
def googlenet():
    return GoogLeNet()


@golden((1, 3, 22, 18), "last relu", opset=13)
def densenet():
    return tv.DenseNet(growth_rate=4, block_config=(2, 3), num_init_features=8, bn_size=2, num_classes=CLASSES)


@golden((1, 3, 22, 18), "features.5", scale=3.0)
def mobilenet_v2():
    blocks = [[1, 32, 1, 1], [6, 48, 2, 2], [6, 64, 1, 2]]
    net = tv.MobileNetV2(num_classes=CLASSES, width_mult=0.125, inverted_residual_setting=blocks, round_nearest=4)
    net.features[-1] = Conv2dNormActivation(8, 24, kernel_size=1, activation_layer=nn.ReLU6)
    net.classifier[1] = nn.Linear(24, CLASSES)
    return net


class SqueezeNet(tv.SqueezeNet):
    def __init__(self):
        nn.Module.__init__(self)
        pool = lambda: nn.MaxPool2d(3, 2, ceil_mode=True)
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2), relu(), pool(), Fire(8, 3, 5, 5), Fire(10, 3, 5, 5), pool(), Fire(10, 4, 6, 6), Fire(12, 4, 6, 6),
        )  # fmt: skip
        self.classifier = nn.Sequential(nn.Dropout(), nn.Conv2d(12, CLASSES, 1), relu(), nn.AdaptiveAvgPool2d((1, 1)))


@golden((1, 3, 23, 19), "features.7")
def squeezenet():
    return SqueezeNet()


class LiteBlock(nn.Module):
    """EfficientNet-Lite's inverted bottleneck: TensorFlow's SAME padding written as a separate Pad before a strided depthwise convolution."""

    def __init__(self, channels, out, kernel, stride):
        super().__init__()
        wide, (begin, end) = 3 * channels, {(3, 2): (0, 1), (5, 2): (1, 2), (3, 1): (1, 1)}[kernel, stride]
        self.expand = nn.Sequential(nn.Conv2d(channels, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU6(True))
        self.pad = nn.ZeroPad2d((begin, end, begin, end)) if begin != end else nn.Identity()
        padding = 0 if begin != end else begin
        self.depthwise = nn.Sequential(
            nn.Conv2d(wide, wide, kernel, stride, padding, groups=wide, bias=False), nn.BatchNorm2d(wide), nn.ReLU6(True))
        self.project = nn.Sequential(nn.Conv2d(wide, out, 1, bias=False), nn.BatchNorm2d(out))
        self.skip = stride == 1 and channels == out

    def forward(self, x):
        y = self.project(self.depthwise(self.pad(self.expand(x))))
        return x + y if self.skip else y


@golden((1, 3, 24, 20), "head.2", scale=3.0)
def efficientnet_lite():
    stem = nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(3, 6, 3, 2, bias=False), nn.BatchNorm2d(6), nn.ReLU6(True))
    blocks = nn.Sequential(LiteBlock(6, 6, 3, 1), LiteBlock(6, 8, 3, 2), LiteBlock(8, 8, 5, 2))
    head = nn.Sequential(nn.Conv2d(8, 16, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU6(True))
    tail = dict(pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), dropout=nn.Dropout(), fc=nn.Linear(16, CLASSES))
    return nn.Sequential(OrderedDict(stem=stem, blocks=blocks, head=head, **tail))


# ---- operators ----------------------------------------------------------------------------------------------------------------------


@golden((1, 2, 17, 14), "body.5")
def conv_stride():
    return headed((1, 2, 17, 14), nn.Conv2d(2, 4, 3, 2, 1), relu(), nn.Conv2d(4, 6, (2, 3), (3, 2)), relu(), nn.Conv2d(6, 5, 1, 2), relu())


@golden((1, 2, 15, 13), "body.5")
def conv_dilation():
    return headed((1, 2, 15, 13), nn.Conv2d(2, 4, 3, dilation=2, padding=2), relu(), nn.Conv2d(4, 4, (3, 2), dilation=(2, 3), stride=(1, 2)), relu(),
                  nn.Conv2d(4, 4, 2, dilation=2, stride=2, padding=1), relu())  # fmt: skip


@golden((1, 4, 9, 8), "body.5")
def conv_groups():
    return headed((1, 4, 9, 8), nn.Conv2d(4, 6, 3, groups=2, padding=1), relu(), nn.Conv2d(6, 12, 3, groups=6, stride=2), relu(),
                  nn.Conv2d(12, 6, 2, groups=3), relu())  # fmt: skip


@golden((1, 2, 11, 9), "body.9")
def conv_padding():
    """Uneven padding and cropping (negative padding), a kernel narrower than its padding, an even kernel with an odd stride."""
    pad = lambda *sides: Fn(lambda x: F.pad(x, sides))
    return headed((1, 2, 11, 9), pad(1, 0, 2, 3), nn.Conv2d(2, 4, 3), relu(), pad(-1, 0, 0, -2), nn.Conv2d(4, 4, 1, padding=2), relu(),
                  nn.Conv2d(4, 5, 4, 3, 1), pad(0, 1, -1, 1), nn.Conv2d(5, 4, 2), relu())  # fmt: skip


@golden((1, 3, 6, 5), "body.5")
def conv_transpose():
    return headed((1, 3, 6, 5), nn.ConvTranspose2d(3, 4, 3, 2, 1, output_padding=1), relu(), nn.ConvTranspose2d(4, 4, (2, 3), (1, 2), (0, 1), groups=2), relu(),
                  nn.ConvTranspose2d(4, 3, 3, dilation=2, padding=3), relu())  # fmt: skip


@golden((2, 2, 16, 13), "body.6", batch_axis=True)
def max_pool():
    return headed((1, 2, 16, 13), nn.Conv2d(2, 4, 3, padding=1), relu(), nn.MaxPool2d(3, 2, 1), nn.MaxPool2d((3, 2), (1, 2)), nn.MaxPool2d(2),
                  nn.Conv2d(4, 6, 2, padding=1), relu())  # fmt: skip


@golden((1, 2, 16, 14), "body.6", opset=13)
def max_pool_ceil():
    """Windows that reach past the end, and one that `ceil_mode` drops since it would begin in the padding."""
    pool = lambda *a: nn.MaxPool2d(*a, ceil_mode=True)
    return headed((1, 2, 16, 14), nn.Conv2d(2, 4, 2), relu(), pool(2, 2), pool(2, 2, 1), pool(3, 2, 1), nn.Conv2d(4, 6, 1), relu())


@golden((1, 2, 12, 10), "body.6", integers=True)
def max_pool_ties():
    return headed((1, 2, 12, 10), nn.Conv2d(2, 4, 3, padding=1), relu(), nn.MaxPool2d(3, 2, 1), nn.MaxPool2d(2, 1), nn.MaxPool2d(3, 2, ceil_mode=True),
                  nn.Conv2d(4, 4, 1), relu())  # fmt: skip


@golden((1, 2, 17, 16), "body.8", opset=13)
def avg_pool():
    """Overlapping windows; padding that counts or not, also where a window reaches past it; a window that `ceil_mode` drops."""
    pool = lambda *a, ceil=False, counts=True: nn.AvgPool2d(*a, ceil_mode=ceil, count_include_pad=counts)
    return headed((1, 2, 17, 16), nn.Conv2d(2, 4, 2), relu(), pool(3, 2, 1), pool(3, 1, 1, counts=False), pool(3, (2, 1), 1, ceil=True),
                  pool((2, 3), 2, 1, ceil=True, counts=False), pool(2, 2, ceil=True), nn.Conv2d(4, 8, 1), relu(), pool(2, 1))  # fmt: skip


@golden((1, 2, 12, 9), "body.3")
def avg_pool_adaptive():
    return headed((1, 2, 12, 9), nn.Conv2d(2, 4, 3, padding=1), nn.AdaptiveAvgPool2d((6, 9)), nn.Conv2d(4, 4, 1), relu(), nn.AdaptiveAvgPool2d((2, 3)))


LRN = (0.9, 0.75, 2.0)  # alpha, beta, k: large enough to matter


@golden((1, 2, 10, 9), "body.4", scale=3.0)
def lrn():
    """Both exporters write this out in other operators (the older one with an `If`); `by_hand.onnx` has the LRN operator."""
    return headed((1, 2, 10, 9), nn.Conv2d(2, 8, 3), relu(), nn.LocalResponseNorm(5, *LRN), nn.Conv2d(8, 6, 3, 2), relu())


class Gate(nn.Module):
    """A residual block with a squeeze-and-excitation gate, then a concatenation; a product and a difference that broadcast."""

    def __init__(self):
        super().__init__()
        self.stem, self.conv = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.squeeze, self.excite, self.mix = nn.Conv2d(4, 2, 1), nn.Conv2d(2, 4, 1), nn.Conv2d(8, 6, 1)
        self.scale, self.shift = nn.Parameter(torch.randn(6, 1, 1)), nn.Parameter(torch.randn(1, 6, 1, 5))
        self.fc = nn.Linear(6, CLASSES)

    def forward(self, x):
        x = F.relu(self.stem(x))
        y = self.conv(x)
        y = y * torch.sigmoid(self.excite(F.relu(self.squeeze(F.adaptive_avg_pool2d(y, 1)))))
        y = self.mix(torch.cat([F.relu(x + y), x], 1))
        return self.fc(F.relu(self.scale * y - self.shift).mean([2, 3]))


@golden((2, 2, 7, 5), "last relu", batch_axis=True)
def residual_gate():
    return Gate()


@golden((1, 2, 8, 7), "body.5", opset=13)
def leaky_prelu():
    """One channel of the PReLU has a negative slope."""
    prelu = nn.PReLU(6)
    net = headed((1, 2, 8, 7), nn.Conv2d(2, 4, 3), nn.LeakyReLU(0.2), nn.Conv2d(4, 6, 3, padding=1), prelu, nn.Conv2d(6, 6, 2), nn.PReLU())
    prelu.weight.data = torch.tensor([0.1, 0.3, -0.2, 0.25, 0.05, 0.5])
    return net


@golden((1, 2, 9, 8), "last relu", scale=2.0)
def relu_spellings():
    """One rectifier after another, each written differently; the first module is used twice."""
    shared = relu()
    zero_max = Fn(lambda x: torch.maximum(x, torch.zeros(())))
    rectifiers = [shared, Fn(torch.relu), Fn(F.relu6), shared, Fn(lambda x: F.relu(x, inplace=True)), Fn(lambda x: x.clamp(min=0)),
                  nn.Hardtanh(-1.0, 1.5), Fn(lambda x: torch.clamp(x, -0.5, 2.0)), zero_max, Fn(lambda x: x.relu_())]  # fmt: skip
    convs = [nn.Conv2d(2 if i == 0 else 4, 4, 3 if i % 5 == 0 else 1) for i in range(len(rectifiers))]
    return headed((1, 2, 9, 8), *[m for pair in zip(convs, rectifiers, strict=True) for m in pair])


class WrittenHardSwish(nn.Module):
    """x·relu6(x + 3)/6 in the exported files, where the ReLU6 is a gate and keeps its true derivative; `F.hardswish` in the reference."""

    def forward(self, x):
        return x * F.relu6(x + 3) / 6 if torch.onnx.is_in_onnx_export() or torch.compiler.is_exporting() else F.hardswish(x)


@golden((1, 2, 9, 8), "body.7", scale=3.0)
def hard_swish():
    return headed((1, 2, 9, 8), nn.Conv2d(2, 4, 3), nn.Hardswish(), nn.Conv2d(4, 4, 2), relu(), nn.Conv2d(4, 4, 1), WrittenHardSwish(),
                  nn.Conv2d(4, 4, 1), nn.Hardswish())  # fmt: skip


@golden((1, 2, 9, 8), "body.7", scale=3.0, opset=13)
def hard_swish_13():
    return headed((1, 2, 9, 8), nn.Conv2d(2, 4, 3), nn.Hardswish(), nn.Conv2d(4, 4, 2), nn.Hardsigmoid(), nn.Conv2d(4, 4, 1), relu(), nn.Conv2d(4, 4, 1), relu())


@golden((1, 2, 7, 6), "body.6")
def pad_modes():
    return headed((1, 2, 7, 6), nn.ConstantPad2d((1, 2, 0, 1), 0.5), nn.Conv2d(2, 4, 3), relu(), nn.ReflectionPad2d((2, 1, 1, 3)), nn.ReplicationPad2d((0, 2, 1, 0)),
                  nn.Conv2d(4, 4, 3, 2), relu())  # fmt: skip


class Products(nn.Module):
    """Flattening by `view` (a chain of shape arithmetic), Gemm, and MatMul by a constant with a bias added."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc1 = nn.Conv2d(2, 4, 3), nn.Linear(48, 12)
        self.w, self.b = nn.Parameter(torch.randn(12, 8) / 3), nn.Parameter(torch.randn(8) / 3)
        self.fc2 = nn.Linear(8, CLASSES, bias=False)

    def forward(self, x):
        x = F.relu(self.conv(x))
        x = F.relu(self.fc1(x.view(x.size(0), -1)))
        return self.fc2(F.relu(x @ self.w + self.b))


@golden((3, 2, 6, 5), "last relu", batch_axis=True)
def products():
    return Products()


class Probabilities(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(2, 4, 3, padding=1), nn.Linear(4, CLASSES)

    def logits(self, x):
        return self.fc(F.relu(self.conv(x)).mean((2, 3)))

    def forward(self, x):
        return self.logits(x).softmax(dim=1)


@golden((2, 2, 6, 5), "last relu", batch_axis=True, classes=3)
def softmax():
    return Probabilities()


class GlobalPools(nn.Module):
    """No channel may be all zero: `amax` splits its signal evenly among ties, `adaptive_max_pool2d` does not, and both become ReduceMax."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(2, 6, 3, 2), nn.Linear(25, CLASSES)

    def forward(self, x):
        x = F.relu(self.conv(x))
        pools = [x.amax((2, 3)), x.mean((2, 3)), F.adaptive_max_pool2d(x, 1).flatten(1), x.sum(dim=3).amax(2), x.mean((1, 2, 3), keepdim=True).flatten(1)]
        return self.fc(torch.cat(pools, 1))


@golden((3, 2, 11, 9), "last relu", batch_axis=True)
def global_pools():
    return GlobalPools()


TINY = {"img_size": 16, "patch_size": 4, "embed_dim": 16, "depth": 2, "num_heads": 2, "num_classes": CLASSES}


@golden((2, 3, 16, 16), "blocks.1.norm1", batch_axis=True, grid=(4, 4), rectifiers=False)
def vit():
    return tm.VisionTransformer(**TINY)


@golden((2, 3, 16, 16), "blocks.1.norm1", batch_axis=True, grid=(4, 4), rectifiers=False)
def deit():
    """A class and a distillation token, each with a head; the scores are their mean."""
    return tm.deit.VisionTransformerDistilled(**TINY)


@golden((2, 3, 16, 16), "norm", grid=(4, 4), rectifiers=False)
def swin():
    """Windows of 2×2 of 8×8 tokens, shifted in the second block, then of 4×4 tokens. With a batch of two, as `convnext`."""
    return tv.SwinTransformer([2, 2], 8, [2, 1], [2, 2], [2, 2], stochastic_depth_prob=0.0, num_classes=CLASSES)


@golden((2, 3, 16, 16), "features.3.0", rectifiers=False)
def convnext():
    """With a batch of two: with an open one PyTorch's newer exporter indexes the pooled values by numbers that it computes of the batch."""
    return tv.ConvNeXt([CNBlockConfig(8, 16, 1), CNBlockConfig(16, None, 1)], layer_scale=1.0, num_classes=CLASSES)


@golden((1, 1, 4, 4), "relu1", classes=1)
def captum_one_conv():
    return BasicModel_ConvNet_One_Conv()  # comes with its weights
