#!/usr/bin/env python3
"""Makes golden/nets/<name>/: small networks as ONNX files of both PyTorch exporters, with explanations computed by PyTorch autograd.

    python3 -m venv venv && venv/bin/pip install -r golden/nets/requirements.txt
    venv/bin/python golden/nets/make_nets.py [NAME…]

Made with torch 2.15.0, torchvision 0.29.2, onnx 1.23.2, onnxscript 0.7.2, onnxruntime 1.32.0, numpy 2.4.6, captum 0.9.0, timm 1.0.31 (Python 3.11).
Running it twice on one machine gives the same bytes. What each file holds is in README.md beside this script.
"""

import copy
import json
import logging
import math
import shutil
import sys
import warnings
from pathlib import Path

import captum.attr as captum
import numpy as np
import onnx
import onnxruntime
import torch
from networks import LRN, NETS
from reference import backward, fold, numbers
from torch import nn

HERE = Path(__file__).parent
KEPT = {"pkg.torch.onnx.name_scopes", "pkg.onnxscript.rewriter.rule_name"}  # the rest is long, and names folders of the machine


def initialise(net, spec, seed):
    """Weights, and running statistics of batch norm, that keep activations of the order of one and maps far from zero."""
    if spec.name == "captum_one_conv":
        return
    draw = torch.Generator().manual_seed(seed)
    for m in net.modules():
        if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            fan = m.weight[0].numel() if not isinstance(m, nn.ConvTranspose2d) else m.weight.shape[0] * 2
            m.weight.data.normal_(0, math.sqrt(2 / fan), generator=draw)
            if m.bias is not None:
                m.bias.data.normal_(0, 0.1, generator=draw)
        elif isinstance(m, nn.BatchNorm2d):
            m.running_mean.normal_(0, 0.3, generator=draw)
            m.running_var.uniform_(0.5, 1.5, generator=draw)
            m.weight.data.uniform_(0.6, 1.4, generator=draw)
            m.bias.data.normal_(0, 0.3, generator=draw)
    if spec.integers:
        for p in net.parameters():
            p.data = (2 * p.data * math.sqrt(p[0].numel() / 2)).round().clamp(-2, 2)


def draw_input(spec, seed):
    if spec.name == "captum_one_conv":
        return torch.arange(16.0).reshape(spec.shape)
    x = spec.scale * torch.randn(spec.shape, generator=torch.Generator().manual_seed(seed))
    return x.round().clamp(-2, 2) if spec.integers else x


def pick_classes(net, x, count):
    """The best class of the first row, the worst, the second best; a score of exactly zero is one that a last ReLU has cut off."""
    scores = getattr(net, "logits", net)(x)[0]
    order = [k for k in scores.argsort(descending=True).tolist() if scores[k] != 0]
    return ([order[0], order[-1], order[1]] if len(order) >= 3 else order)[:count]


def relative(a, b):
    return float((a - b).norm() / b.norm())


def flaw(net, spec, x, classes, found):
    """Why this seed would make a poor reference, or None."""
    if len(classes) < spec.classes:
        return "too few live classes"
    for name in ("gradient", "deconvnet", "guided_backprop", "grad_cam", "layer_activation"):
        if found[name].flatten(1).abs().amax(1).min() < 1e-3 or not found[name].isfinite().all():
            return f"{name} vanishes"
    if spec.name == "captum_one_conv":
        return None
    if not (found["grad_cam"][0] > 0).any() or (found["grad_cam"] > 0).all():
        return "the Grad-CAM has one sign"
    if found["grad_cam"].shape[-1] * found["grad_cam"].shape[-2] < 2:
        return "the layer has no grid"
    if spec.name == "global_pools" and found["layer_activation"].amax((2, 3)).min() == 0:
        return "a tie of zeros under amax"
    if spec.rectifiers and any(torch.equal(found["gradient"], found[rule]) for rule in ("deconvnet", "guided_backprop")):
        return "the rules make no difference"
    if spec.integers:
        return None
    # No decision of a rectifier or a max pool may hang on rounding: disturbing their inputs must change nothing noticeable.
    image, at_layer = backward(net, x, classes, spec.layer, "gradient")[2:]
    for jitter in (1e-5, 3e-5, -3e-5):
        near = backward(net, x, classes, spec.layer, "gradient", jitter)
        if max(relative(near[2], image), relative(near[3], at_layer)) > 3e-4:
            return "a near-tie"
    for rule in ("gradient", "guided_backprop"):
        if relative(found[rule].double(), found[f"{rule}64"]) > 1e-5:
            return "float32 and float64 disagree"
    return None


def prepare(spec):
    """The network, input and numbers of the first seed without a flaw."""
    for seed in range(100):
        torch.manual_seed(seed)
        net = spec.build().eval()
        initialise(net, spec, seed)
        x = draw_input(spec, seed)
        classes = pick_classes(net, x, spec.classes)
        found = numbers(net, x, classes, spec.layer, spec.grid)
        why = flaw(net, spec, x, classes, found)
        if why is None:
            return seed, net, x, found
        print(f"  {spec.name}: seed {seed} rejected: {why}")
    raise SystemExit(f"{spec.name}: no good seed")


def tidy(path):
    """Drops what names this machine, and fixes the order of attributes and metadata; tensors are left where they are."""
    model = onnx.load(path, load_external_data=False)
    model.graph.ClearField("doc_string")
    for owner in [model.graph, *model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output, *model.graph.initializer]:
        kept = sorted(((p.key, p.value) for p in owner.metadata_props if p.key in KEPT))
        del owner.metadata_props[:]
        for key, value in kept:
            owner.metadata_props.add(key=key, value=value)
    for node in model.graph.node:
        node.ClearField("doc_string")
        attributes = sorted((copy.deepcopy(a) for a in node.attribute), key=lambda a: a.name)
        del node.attribute[:]
        node.attribute.extend(attributes)
    path.write_bytes(model.SerializeToString(deterministic=True))


def export(net, spec, x, folder):
    net.requires_grad_(False)
    axes = {"image": {0: "N"}, "scores": {0: "N"}} if spec.batch_axis else None
    torch.onnx.export(
        net, (x,), folder / "legacy.onnx", dynamo=False, opset_version=spec.opset, input_names=["image"], output_names=["scores"], dynamic_axes=axes
    )
    torch.onnx.export(net, (x,), folder / "dynamo.onnx", verbose=False)
    if spec.batch_axis:
        torch.onnx.export(net, (x,), folder / "dynamo_batch.onnx", verbose=False, dynamic_shapes=({0: torch.export.Dim("batch")},))
    if spec.name == "lrn":
        onnx.save(with_lrn_operator(onnx.load(folder / "legacy.onnx")), folder / "by_hand.onnx")
    for path in sorted(folder.glob("*.onnx")):
        tidy(path)


def with_lrn_operator(model):
    """Puts one LRN node between the first ReLU and the second convolution."""
    first_relu = next(i for i, node in enumerate(model.graph.node) if node.op_type == "Relu")
    second_conv = [i for i, node in enumerate(model.graph.node) if node.op_type == "Conv"][1]
    alpha, beta, k = LRN
    node = onnx.helper.make_node("LRN", [model.graph.node[first_relu].output[0]], ["normalised"], "/lrn/LRN", size=5, alpha=alpha, beta=beta, bias=k)
    model.graph.node[second_conv].input[0] = "normalised"
    del model.graph.node[first_relu + 1 : second_conv]
    model.graph.node.insert(first_relu + 1, node)
    onnx.checker.check_model(model)
    return model


def check(path, x, scores, activation, grid):
    """Runs the file as it is; the name of the first value in it that equals the activation of the automatic layer."""
    run = lambda model: onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    options = onnxruntime.SessionOptions()
    session = run(path)
    feed = {session.get_inputs()[0].name: x}
    np.testing.assert_allclose(session.run(None, feed)[0], scores, rtol=1e-4, atol=1e-4 * np.abs(scores).max())
    model = onnx.load(path)
    names = [name for node in model.graph.node if node.op_type != "Constant" for name in node.output if name]
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    near = 1e-4 * np.abs(activation).max()
    for name, value in zip(names, run(model.SerializeToString()).run(None, feed), strict=True):
        if value.size < activation.size or value.ndim not in (3, 4):
            continue
        try:
            value = fold(torch.from_numpy(value), grid).numpy()
        except RuntimeError:  # another number of tokens
            continue
        if value.shape == activation.shape and np.allclose(value, activation, rtol=1e-4, atol=near):
            return name
    raise SystemExit(f"{path}: no value equals the activation of the automatic layer")


def captum_vectors(net, x, found):
    """The numbers of captum itself: equal to those printed in its tests, and to ours."""
    said = {
        "gradient": captum.Saliency(net).attribute(x, 0, abs=False),
        "deconvnet": captum.Deconvolution(net).attribute(x, 0),
        "guided_backprop": captum.GuidedBackprop(net).attribute(x, 0),
        "grad_cam": captum.LayerGradCam(net, net.relu1).attribute(x, 0)[:, 0],
    }
    for name, value in said.items():
        assert torch.equal(value.detach(), found[name][0]), name
    more = {
        "captum_grad_cam_conv1": captum.LayerGradCam(net, net.conv1).attribute(x, 0),
        "captum_grad_cam_conv1_channels": captum.LayerGradCam(net, net.conv1).attribute(x, 0, attr_dim_summation=False),
        "captum_guided_grad_cam_nearest": captum.GuidedGradCam(net, net.relu1).attribute(x, 0, interpolate_mode="nearest"),
    }
    listed = {
        "grad_cam": [[0, 4], [28, 32.5]],
        "guided_backprop": [[0, 1, 1, 1], [1, 3, 3, 2], [1, 3, 3, 2], [1, 2, 2, 1]],
        "deconvnet": [[2, 3, 3, 1], [3, 5, 5, 2], [3, 5, 5, 2], [1, 2, 2, 1]],
        "captum_grad_cam_conv1": [[11.25, 13.5], [20.25, 22.5]],
        "captum_grad_cam_conv1_channels": [[[-3.75, 3], [23.25, 30]], [[15, 10.5], [-3, -7.5]]],
        "captum_guided_grad_cam_nearest": [[0, 0, 4, 4], [0, 0, 12, 8], [28, 84, 97.5, 65], [28, 56, 65, 32.5]],
    }
    for name, value in listed.items():
        torch.testing.assert_close((said | more)[name].detach().squeeze(), torch.tensor(value, dtype=torch.float32), rtol=0, atol=0)
    return {name: value.detach() for name, value in more.items()}


def make(spec):
    folder = HERE / spec.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    seed, net, x, found = prepare(spec)
    if spec.name == "captum_one_conv":
        found |= captum_vectors(net, x, found)
    if hasattr(net, "logits"):
        found["logits"], found["scores"] = found["scores"], net(x).detach()
    export(net, spec, x, folder)
    arrays = {name: value.numpy() for name, value in found.items()}
    np.savez(folder / "numbers.npz", **arrays)
    values = {path.stem: check(path, arrays["x"], arrays["scores"], arrays["layer_activation"], spec.grid) for path in sorted(folder.glob("*.onnx"))}
    info = {
        "module": None if spec.layer == "last relu" else spec.layer,  # none: a ReLU written as a function
        "grid": list(arrays["layer_activation"].shape[2:]),
        "layer": values,
        "opset": {path.stem: onnx.load(path, load_external_data=False).opset_import[0].version for path in sorted(folder.glob("*.onnx"))},
        "symbolic_batch": [path.stem for path in sorted(folder.glob("*.onnx")) if spec.batch_axis and path.stem != "dynamo"],
        "seed": seed,
    }
    (folder / "info.json").write_text(json.dumps(info, indent=2) + "\n")
    size = sum(f.stat().st_size for f in folder.iterdir())
    print(f"{spec.name:18} seed {seed:2} grid {info['grid']} {size / 1e3:6.1f} kB  {values}")
    return size


def main():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    onnxruntime.set_default_logger_severity(3)
    wanted = sys.argv[1:] or [spec.name for spec in NETS]
    total = sum(make(spec) for spec in NETS if spec.name in wanted)
    print(f"{total / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
