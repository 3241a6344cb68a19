//! Networks in miniature.

use whycam_graph::op::{BinaryFn, Gemm, Op, Range, ReduceKind, UnaryFn};
use whycam_graph::{Dim, Emit, N, Shape, ValueId};
use whycam_interp::Array;

use super::{Net, conv, window};

/// Makes a network's scores from its image.
pub type Make = fn(&mut Net, Images) -> ValueId;

/// Every network here.
pub const ALL: [(&str, Make); 4] = [("resnet", resnet), ("densenet", densenet), ("vit", vit), ("swin", swin)];

/// How many images, and whether the batch is the symbol N.
#[derive(Clone, Copy, Debug)]
pub struct Images {
    pub count: usize,
    pub symbolic: bool,
}

impl Images {
    fn dim(self) -> Dim {
        if self.symbolic { N } else { Dim::Fixed(self.count) }
    }

    /// `c` times the batch, and other sizes.
    pub fn shape(self, c: usize, rest: &[usize]) -> Shape {
        let first = if self.symbolic { Dim::Batch(c) } else { Dim::Fixed(c * self.count) };
        Shape([first].into_iter().chain(rest.iter().map(|&d| Dim::Fixed(d))).collect())
    }

    /// An image of that shape.
    pub fn input(self, net: &mut Net, rest: &[usize]) -> ValueId {
        let shape: Vec<usize> = [self.count].into_iter().chain(rest.iter().copied()).collect();
        let x = Array::random(&shape, 77);
        if self.symbolic { net.batch("image", x) } else { net.input("image", x) }
    }
}

pub fn relu(net: &mut Net, x: ValueId) -> ValueId {
    net.op(Op::Unary(UnaryFn::Relu), &[x])
}

pub fn add(net: &mut Net, a: ValueId, b: ValueId) -> ValueId {
    net.op(Op::Binary(BinaryFn::Add), &[a, b])
}

fn channels(net: &Net, x: ValueId) -> usize {
    net.shape(x).0[1].at(1)
}

/// A square convolution without bias.
pub fn convolve(net: &mut Net, x: ValueId, out: usize, kernel: usize, stride: usize) -> ValueId {
    let w = net.weights(&[out, channels(net, x), kernel, kernel]);
    net.op(Op::Conv(conv(2, stride, kernel / 2)), &[x, w])
}

pub fn batch_norm(net: &mut Net, x: ValueId) -> ValueId {
    let c = channels(net, x);
    let [scale, var] = [0; 2].map(|_| net.between(&[c], 0.5, 1.5));
    let [bias, mean] = [0; 2].map(|_| net.between(&[c], -0.2, 0.2));
    net.op(Op::BatchNorm { epsilon: 1e-5 }, &[x, scale, bias, mean, var])
}

/// Global average pool and a linear layer.
pub fn pooled_linear(net: &mut Net, x: ValueId, classes: usize) -> ValueId {
    let c = channels(net, x);
    let pooled = net.op(Op::GlobalAveragePool, &[x]);
    let flat = net.op(Op::Flatten { axis: 1 }, &[pooled]);
    linear(net, flat, c, classes)
}

pub fn linear(net: &mut Net, x: ValueId, from: usize, to: usize) -> ValueId {
    let (w, b) = (net.weights(&[to, from]), net.weights(&[to]));
    net.op(Op::Gemm(Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: true }), &[x, w, b])
}

/// Stem with an overlapping max pool, a plain block, a strided block with a projection, GAP and Gemm.
pub fn resnet(net: &mut Net, images: Images) -> ValueId {
    let x = images.input(net, &[2, 9, 9]);
    let x = convolve(net, x, 3, 3, 1);
    let x = batch_norm(net, x);
    let x = relu(net, x);
    let x = net.op(Op::MaxPool(window(3, 2, 1, false)), &[x]);
    let x = residual(net, x, 3, 1);
    let x = residual(net, x, 4, 2);
    pooled_linear(net, x, 4)
}

fn residual(net: &mut Net, x: ValueId, out: usize, stride: usize) -> ValueId {
    let y = convolve(net, x, out, 3, stride);
    let y = batch_norm(net, y);
    let y = relu(net, y);
    let y = convolve(net, y, out, 3, 1);
    let y = batch_norm(net, y);
    let x = if stride == 1 {
        x
    } else {
        let x = convolve(net, x, out, 1, stride);
        batch_norm(net, x)
    };
    let sum = add(net, y, x);
    relu(net, sum)
}

/// Two dense blocks and a transition with an average pool; the last ReLU is behind the last concatenation.
pub fn densenet(net: &mut Net, images: Images) -> ValueId {
    let x = images.input(net, &[2, 6, 6]);
    let mut x = convolve(net, x, 2, 3, 1);
    for block in 0..2 {
        for _ in 0..2 {
            let y = batch_norm(net, x);
            let y = relu(net, y);
            let y = convolve(net, y, 2, 3, 1);
            x = net.op(Op::Concat { axis: 1 }, &[x, y]);
        }
        if block == 0 {
            x = batch_norm(net, x);
            x = relu(net, x);
            x = convolve(net, x, 3, 1, 1);
            let window = window(2, 2, 0, false);
            x = net.op(Op::AveragePool { window, count_include_pad: false }, &[x]);
        }
    }
    x = batch_norm(net, x);
    x = relu(net, x);
    pooled_linear(net, x, 4)
}

/// Layer norm from primitives, over the last axis.
fn layer_norm(net: &mut Net, x: ValueId, size: usize) -> ValueId {
    let last = net.shape(x).rank() - 1;
    let mean =
        |net: &mut Net, x| net.op(Op::Reduce { kind: ReduceKind::Mean, axes: vec![last], keep: true }, &[x]);
    let middle = mean(net, x);
    let centred = net.b.sub(x, middle).unwrap();
    let two = net.values(&[], &[2.0]);
    let square = net.op(Op::Binary(BinaryFn::Pow), &[centred, two]);
    let variance = mean(net, square);
    let variance = net.b.shift(variance, 1e-5).unwrap();
    let deviation = net.op(Op::Unary(UnaryFn::Sqrt), &[variance]);
    let normal = net.b.div(centred, deviation).unwrap();
    let (scale, shift) = (net.weights(&[size]), net.weights(&[size]));
    let scaled = net.b.mul(normal, scale).unwrap();
    add(net, scaled, shift)
}

/// Attention with two heads among `tokens` tokens of size 4, on `groups` groups of them an image.
fn attention(net: &mut Net, x: ValueId, images: Images, groups: usize, tokens: usize) -> ValueId {
    let (w, bias) = (net.weights(&[4, 12]), net.weights(&[12]));
    let all = net.op(Op::MatMul, &[x, w]);
    let all = add(net, all, bias);
    let split = net.op(Op::Reshape { to: images.shape(groups, &[tokens, 3, 2, 2]) }, &[all]);
    let split = net.op(Op::Transpose { perm: vec![2, 0, 3, 1, 4] }, &[split]);
    let [q, k, v] = [0, 1, 2].map(|i| {
        let index = net.integers(&[], &[i]);
        net.op(Op::Gather { axis: 0 }, &[split, index])
    });
    let k = net.b.transpose_last(k).unwrap();
    let scores = net.b.matmul(q, k).unwrap();
    let scores = net.b.scale(scores, 0.5f32.sqrt()).unwrap();
    let shares = net.op(Op::Softmax { axis: 3 }, &[scores]);
    let mixed = net.b.matmul(shares, v).unwrap();
    let mixed = net.op(Op::Transpose { perm: vec![0, 2, 1, 3] }, &[mixed]);
    let joined = net.op(Op::Reshape { to: images.shape(groups, &[tokens, 4]) }, &[mixed]);
    let w = net.weights(&[4, 4]);
    net.b.matmul(joined, w).unwrap()
}

/// A transformer's second half: two linear layers with a GELU between, and the way around them.
fn feed_forward(net: &mut Net, x: ValueId) -> ValueId {
    let y = layer_norm(net, x, 4);
    let (up, down) = (net.weights(&[4, 6]), net.weights(&[6, 4]));
    let y = net.b.matmul(y, up).unwrap();
    let y = net.op(Op::Unary(UnaryFn::Gelu), &[y]);
    let y = net.b.matmul(y, down).unwrap();
    add(net, x, y)
}

/// Patches, a class token, one transformer block, and the class token's scores.
pub fn vit(net: &mut Net, images: Images) -> ValueId {
    let x = images.input(net, &[2, 4, 4]);
    let w = net.weights(&[4, 2, 2, 2]);
    let x = net.op(Op::Conv(conv(2, 2, 0)), &[x, w]);
    // The class of a rectifier, so that the ReLU rules have something to act on.
    let x = relu(net, x);
    let x = net.op(Op::Reshape { to: images.shape(1, &[4, 4]) }, &[x]);
    let x = net.op(Op::Transpose { perm: vec![0, 2, 1] }, &[x]);
    let token = net.weights(&[1, 1, 4]);
    let token = net.op(Op::Expand { to: Shape(vec![images.dim(), 1.into(), 4.into()]) }, &[token]);
    let x = net.op(Op::Concat { axis: 1 }, &[token, x]);
    let places = net.weights(&[1, 5, 4]);
    let x = add(net, x, places);
    let y = layer_norm(net, x, 4);
    let y = attention(net, y, images, 1, 5);
    let x = add(net, x, y);
    let x = feed_forward(net, x);
    let x = layer_norm(net, x, 4);
    let first = net.integers(&[], &[0]);
    let token = net.op(Op::Gather { axis: 1 }, &[x, first]);
    linear(net, token, 4, 4)
}

/// A roll by one cell along both axes of `[N, 4, 4, C]`.
fn roll(net: &mut Net, x: ValueId, by: i64) -> ValueId {
    let mut x = x;
    for axis in [1, 2] {
        let cut = if by > 0 { 3 } else { 1 };
        let [front, back] = [(0, cut), (cut, 4)]
            .map(|(start, end)| net.op(Op::Slice(vec![Range { axis, start, end, step: 1 }]), &[x]));
        x = net.op(Op::Concat { axis }, &[back, front]);
    }
    x
}

/// One block of attention in shifted windows, whose batch is 4·N, and a linear layer on the mean of tokens.
pub fn swin(net: &mut Net, images: Images) -> ValueId {
    let x = images.input(net, &[2, 4, 4]);
    let x = convolve(net, x, 4, 1, 1);
    let x = relu(net, x);
    let x = net.op(Op::Transpose { perm: vec![0, 2, 3, 1] }, &[x]);
    let y = layer_norm(net, x, 4);
    let y = roll(net, y, -1);
    let y = net.op(Op::Reshape { to: images.shape(1, &[2, 2, 2, 2, 4]) }, &[y]);
    let y = net.op(Op::Transpose { perm: vec![0, 1, 3, 2, 4, 5] }, &[y]);
    let y = net.op(Op::Reshape { to: images.shape(4, &[4, 4]) }, &[y]);
    let y = attention(net, y, images, 4, 4);
    let y = net.op(Op::Reshape { to: images.shape(1, &[2, 2, 2, 2, 4]) }, &[y]);
    let y = net.op(Op::Transpose { perm: vec![0, 1, 3, 2, 4, 5] }, &[y]);
    let y = net.op(Op::Reshape { to: images.shape(1, &[4, 4, 4]) }, &[y]);
    let y = roll(net, y, 1);
    let x = add(net, x, y);
    let x = feed_forward(net, x);
    let mean = net.op(Op::Reduce { kind: ReduceKind::Mean, axes: vec![1, 2], keep: false }, &[x]);
    linear(net, mean, 4, 4)
}
