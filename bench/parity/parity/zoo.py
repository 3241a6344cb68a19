"""The models: what each is called, how it is built, and the input that keeps it affordable."""

from dataclasses import dataclass, field
from typing import Callable

import torch
from torch import nn

from . import dense, keras_side


@dataclass(frozen=True)
class Entry:
    source: str
    name: str
    build: Callable[[], nn.Module]
    shape: tuple[int, ...] = (1, 3, 96, 96)
    opset: int = 17  # of the older exporter
    exporters: tuple[str, ...] = ("legacy", "dynamo")
    more: Callable[[], dict] = field(default=dict)  # further inputs
    outputs: tuple[str, ...] = ()  # names of the first ones, where the target needs them
    ask: Callable = field(default=lambda out: best_class(out))  # from the output: whycam's target, and the score as a function of the output
    side: Callable | None = None  # what makes it, where that is not PyTorch
    options: tuple[str, ...] = ()  # further options of whycam

    @property
    def id(self):
        return f"{self.source}/{self.name}"


# torchvision's classification models: the side of the image where 96 does not do, and further arguments.
TORCHVISION = {
    "inception_v3": (128, {"init_weights": False}),
    "googlenet": (96, {"init_weights": False}),
    "alexnet": (224, {}),  # its pooling to 6×6 cells is a pooling only there
    "maxvit_t": (224, {}),
    "vit_b_16": (64, {"image_size": 64}),
    "vit_b_32": (128, {"image_size": 128}),
    "vit_l_16": (64, {"image_size": 64}),
    "vit_l_32": (128, {"image_size": 128}),
    "vit_h_14": (56, {"image_size": 56}),
}
HEAVY = ("vgg", "vit_l", "convnext_large", "vit_h", "regnet_y_128gf")  # measured last


def torchvision():
    import torchvision.models as tv

    names = tv.list_models(module=tv)
    for name in sorted(names, key=lambda n: (max([i for i, heavy in enumerate(HEAVY) if n.startswith(heavy)], default=-1), n)):
        side, more = TORCHVISION.get(name, (224 if name.startswith("vgg") else 96, {}))
        yield Entry("torchvision", name, lambda name=name, more=more: tv.get_model(name, weights=None, **more), (1, 3, side, side))


def segmentation():
    for name in dense.SEGMENTATION:
        yield Entry("segmentation", name, lambda name=name: dense.build(name), ask=dense.segment)


def detection():
    for name, side in dense.DETECTION.items():
        two_stages = "rcnn" in name
        kind, ask = (dense.Objectness, dense.anchor) if two_stages else (dense.Boxes, dense.box)
        yield Entry("detection", name, lambda kind=kind, name=name: kind(name), (1, 3, side, side), outputs=("objectness0",) if two_stages else (), ask=ask)


# timm: families that the project promises first. `name` or `name@side`, `name=side` where the model is built for that side.
TIMM = """
    resnetv2_50 seresnet50 resnest14d repvgg_a0 hrnet_w18_small dla34 inception_v4@128 nfnet_l0 convmixer_768_32 convnextv2_atto
    mobilevit_xxs@128 mobilevitv2_050@128 levit_128s@224 poolformer_s12 poolformerv2_s12 coatnet_nano_rw_224@224 efficientformer_l1@224
    efficientformerv2_s0@224 fastvit_t8@128 mixnet_s mobilenetv4_conv_small mobilenetv4_hybrid_medium@128 vit_tiny_patch16_224=64
    deit_tiny_patch16_224=64 deit_tiny_distilled_patch16_224=64 deit3_small_patch16_224=64 swin_tiny_patch4_window7_224@224
    swinv2_tiny_window8_256@256 swinv2_cr_tiny_ns_224@224 beit_base_patch16_224=64 beitv2_base_patch16_224=64 xcit_nano_12_p16_224@128
    maxvit_rmlp_pico_rw_256@256 eva02_tiny_patch14_224=112 mambaout_femto vit_base_patch32_clip_224=128 vit_small_patch14_dinov2=56
    vit_small_patch14_reg4_dinov2=56 vit_small_patch16_224.dino=64
    resnet18d resnetblur50 resnext50_32x4d res2net50_26w_4s eca_resnet33ts skresnet18 gcresnet33ts cspresnet50 cspdarknet53 darknet53 dpn68
    ese_vovnet19b_dw gernet_s ghostnet_100 ghostnetv2_100 hardcorenas_a lcnet_050 mnasnet_100 tinynet_a regnetz_b16 rexnet_100 selecsls42b
    tf_efficientnet_b0 tf_efficientnetv2_b0 efficientnet_lite0 tresnet_m visformer_tiny@224 volo_d1_224@224 xception41 crossvit_9_240@240
    cait_xxs24_224=64 convit_tiny@224 pit_ti_224@224 twins_svt_small@224 twins_pcpvt_small@224 tnt_s_legacy_patch16_224@224 pvt_v2_b0
    mvitv2_tiny@224 edgenext_xx_small@128 efficientvit_b0@128 efficientvit_m0@224 repghostnet_050 repvit_m0_9@224 rdnet_tiny hgnetv2_b0
    hiera_tiny_224@224 inception_next_atto@128 focalnet_tiny_srf@224 davit_tiny@224 gcvit_xxtiny@224 nest_tiny_jx@224 coat_tiny@224
    mixer_s16_224@224 gmlp_s16_224@224 resmlp_12_224@224 sequencer2d_s@224 tiny_vit_5m_224@224 starnet_s1 shvit_s1 swiftformer_xs@224
    fasternet_t0 nextvit_small@128 mobileone_s0 caformer_s18 convformer_s18 lambda_resnet26t@128 halonet26t@256 botnet26t_256@256
    bat_resnext26ts@256 densenet121 dm_nfnet_f0 fbnetc_100 semnasnet_100 vovnet39a csatv2@256 samvit_base_patch16=128
    vit_medium_patch16_gap_240=96 vit_base_patch16_siglip_224=64 vit_small_patch16_dinov3=64 convnext_atto
""".split()


def timm_models():
    import timm

    for text in TIMM:
        name, side, more = text, 96, {}
        for mark in "@=":
            if mark in text:
                name, side = text.split(mark)[0], int(text.split(mark)[1])
                more = {"img_size": side} if mark == "=" else {}
        build = lambda name=name, more=more: timm.create_model(name, pretrained=False, **more)
        yield Entry("timm", name, build, (1, 3, side, side))


# Keras' applications, by tf2onnx.
KERAS = """
    MobileNetV2@96 ResNet50V2@96 DenseNet121@96 EfficientNetB0@96 EfficientNetV2B0@96 Xception@96 InceptionV3@128 NASNetMobile@96 VGG16@96
    ConvNeXtTiny@96 MobileNet@96 ResNet101@96
""".split()


def keras_models():
    for text in KERAS:
        name, side = text.split("@")
        yield Entry("keras", name, None, (1, 3, int(side), int(side)), exporters=("tf2onnx",), side=keras_side.KerasSide)


def entries():
    yield from torchvision()
    yield from segmentation()
    yield from detection()
    yield from timm_models()
    yield from keras_models()


def first(out):
    """The tensor of the first output."""
    while not isinstance(out, torch.Tensor):
        out = next(iter(out.values())) if isinstance(out, dict) else out[0]
    return out


def best_class(out):
    """The class with the highest score."""
    target = int(first(out).flatten(1)[0].argmax())
    return f"class:{target}", lambda out: first(out).flatten(1)[0, target]
