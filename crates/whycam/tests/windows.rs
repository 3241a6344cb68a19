//! Occlusion by windows against whole images, in every engine: asked for by name, so that no clock decides what is tested.

mod common;

use std::path::Path;

use common::{agree, engines, numbers, wide};
use whycam::graph::op::{BinaryFn, Conv, UnaryFn, Window};
use whycam::graph::{Build, DType, Engine, Header, N, Op, Shape, Tensor, ValueId, onnx};
use whycam::{Explainer, Model, ModelOptions, Note, Question, Target};

/// A network in the making; its weights are deterministic numbers.
struct Net {
    build: Build,
    seed: usize,
}

impl Net {
    fn node(&mut self, op: Op, inputs: &[ValueId]) -> ValueId {
        let inputs: Vec<_> = inputs.iter().copied().map(Some).collect();
        self.build.nodes(op, &inputs).expect("sound")[0]
    }

    fn constant(&mut self, shape: &[usize]) -> ValueId {
        self.seed += 1;
        let values = numbers(shape.iter().product(), self.seed);
        self.build.constant(Tensor::f32(shape, &values).expect("fits"))
    }

    fn channels(&self, x: ValueId) -> usize {
        self.build.graph().shape(x).expect("known").0[1].fixed().expect("fixed")
    }

    /// A convolution to so many channels, with a bias.
    fn conv(
        &mut self,
        x: ValueId,
        to: usize,
        size: usize,
        steps: [usize; 2],
        pads: (usize, usize),
    ) -> ValueId {
        self.grouped(x, to, size, steps, pads, 1)
    }

    fn grouped(
        &mut self,
        x: ValueId,
        to: usize,
        size: usize,
        [stride, dilation]: [usize; 2],
        pads: (usize, usize),
        groups: usize,
    ) -> ValueId {
        let (from, bias) = (self.channels(x) / groups, self.constant(&[to]));
        let weights = self.constant(&[to, from, size, size]);
        let conv =
            Conv { strides: vec![stride; 2], dilations: vec![dilation; 2], pads: vec![pads; 2], groups };
        self.node(Op::Conv(conv), &[x, weights, bias])
    }

    fn relu(&mut self, x: ValueId) -> ValueId {
        self.node(Op::Unary(UnaryFn::Relu), &[x])
    }
}

fn pool(size: usize, stride: usize, pads: (usize, usize), ceil_mode: bool) -> Window {
    Window {
        kernel: vec![size; 2],
        strides: vec![stride; 2],
        dilations: vec![1; 2],
        pads: vec![pads; 2],
        ceil_mode,
    }
}

/// Convolutions and pools, one after the other.
fn sequential(net: &mut Net, x: ValueId) -> ValueId {
    let x = net.conv(x, 4, 3, [1, 1], (1, 1));
    let x = net.relu(x);
    let x = net.node(Op::MaxPool(pool(2, 2, (0, 0), true)), &[x]);
    let x = net.conv(x, 5, 3, [1, 1], (1, 1));
    let x = net.relu(x);
    let x = net.node(Op::MaxPool(pool(3, 2, (1, 1), false)), &[x]);
    net.conv(x, 6, 3, [1, 1], (1, 1))
}

/// A stem with strides, and blocks that are added to what they are made of.
fn residual(net: &mut Net, x: ValueId) -> ValueId {
    let x = net.conv(x, 4, 7, [2, 1], (3, 3));
    let mut x = net.relu(x);
    for stride in [1, 2] {
        let y = net.conv(x, 4, 3, [stride, 1], (1, 1));
        let y = net.relu(y);
        let y = net.conv(y, 4, 3, [1, 1], (1, 1));
        let shortcut = net.conv(x, 4, 1, [stride, 1], (0, 0));
        let sum = net.node(Op::Binary(BinaryFn::Add), &[y, shortcut]);
        x = net.relu(sum);
    }
    x
}

/// Maps that stay beside what is made of them, and means.
fn dense(net: &mut Net, x: ValueId) -> ValueId {
    let mut x = net.conv(x, 3, 3, [2, 1], (0, 1));
    for _ in 0..2 {
        let y = net.relu(x);
        let y = net.conv(y, 3, 3, [1, 1], (1, 1));
        x = net.node(Op::Concat { axis: 1 }, &[x, y]);
    }
    let x = net.conv(x, 4, 1, [1, 1], (0, 0));
    let mean = Op::AveragePool { window: pool(2, 2, (0, 0), false), count_include_pad: false };
    net.node(mean, &[x])
}

/// Dilated kernels, kernels for each channel, and padding that is not even.
fn dilated(net: &mut Net, x: ValueId) -> ValueId {
    let x = net.conv(x, 4, 3, [1, 2], (2, 2));
    let x = net.relu(x);
    let x = net.grouped(x, 4, 4, [2, 1], (2, 1), 4);
    let x = net.node(Op::Unary(UnaryFn::Sigmoid), &[x]);
    let factors = net.constant(&[1, 4, 1, 1]);
    let x = net.node(Op::Binary(BinaryFn::Mul), &[x, factors]);
    let mean = Op::AveragePool { window: pool(3, 1, (1, 1), false), count_include_pad: true };
    net.node(mean, &[x])
}

/// What makes the last map of an image.
type Body = fn(&mut Net, ValueId) -> ValueId;

/// A model of 3 × `height` × `width` with that body, the mean over space, and a linear layer.
fn model(body: Body, height: usize, width: usize) -> Model {
    let header = Header { ir_version: 8, opsets: [(String::new(), 17)].into(), ..Header::default() };
    let mut net = Net { build: Build::new(header), seed: 0 };
    let shape = Shape(vec![N, 3.into(), height.into(), width.into()]);
    let image = net.build.input("image", DType::F32, shape).expect("new");
    let x = body(&mut net, image);
    let x = net.node(Op::GlobalAveragePool, &[x]);
    let x = net.node(Op::Flatten { axis: 1 }, &[x]);
    let weights = [net.channels(x), 4];
    let weights = net.constant(&weights);
    let scores = net.node(Op::MatMul, &[x, weights]);
    let bytes = onnx::write(&net.build.finish(vec![scores])).expect("written");
    Model::from_bytes(&bytes, ModelOptions::default()).expect("a model")
}

/// The changes that occlusion finds, and whether windows were run; `None` where there are none.
fn changes(model: &Model, engine: &dyn Engine, method: &str, batch: usize) -> Option<(Vec<f32>, bool)> {
    let question = Question {
        methods: vec![method.parse().expect(method)],
        targets: vec![Target::Index(1)],
        batch,
        ..Question::default()
    };
    let explainer = match Explainer::new(model, engine, &question) {
        Err(error) if error.to_string().contains("no windows that save") => return None,
        explainer => explainer.expect("explainable"),
    };
    let shape = model.input().shape();
    let values = numbers(shape.iter().product(), 9);
    let image = model.rows(&shape, &values).expect("an image").remove(0);
    let mut explanation = explainer.explain(&image, &[]).expect("runs");
    let map = explanation.maps.remove(0);
    Some((map.values.clone(), map.notes.contains(&Note::RunByWindows)))
}

/// Panics unless both ways find the same; whether there were windows.
fn compare(name: &str, model: &Model, patches: &str, batch: usize) -> bool {
    let mut found = false;
    for engine in engines() {
        let method = format!("occlusion:{patches}");
        let of = |by: &str, batch| changes(model, engine.as_ref(), &format!("{method}:by={by}"), batch);
        let Some((windows, by_windows)) = of("windows", batch) else { continue };
        let (whole, by_whole) = of("whole", 4).expect("always there");
        println!("{name}, {patches}, {}", engine.name());
        assert!(by_windows && !by_whole);
        // The same sums, in which engines may take the terms in another order.
        agree(&windows, &wide(&whole), 1e-4);
        found = true;
    }
    found
}

#[test]
fn windows_find_what_whole_images_find() {
    let bodies: [(&str, Body); 4] =
        [("sequential", sequential), ("residual", residual), ("dense", dense), ("dilated", dilated)];
    for (name, body) in bodies {
        // Neither side is a multiple of any stride.
        let model = model(body, 41, 38);
        for (patches, batch) in [("size=1:stride=7", 3), ("size=5:stride=4", 8), ("size=8:stride=5", 1)] {
            assert!(compare(name, &model, patches, batch), "{name} has no windows");
        }
    }
}

/// Networks as PyTorch exports them, with images as small as theirs are.
#[test]
fn golden_networks_have_windows_too() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/nets");
    let mut with_windows = Vec::new();
    for entry in root.read_dir().expect("there").flatten() {
        let file = entry.path().join("legacy.onnx");
        let Ok(model) = Model::open(&file) else { continue };
        let name = entry.file_name().to_string_lossy().into_owned();
        if model.scored().is_ok() && compare(&name, &model, "size=2:stride=3", 5) {
            with_windows.push(name);
        }
    }
    for name in ["alexnet", "densenet", "mobilenet_v2", "resnet50", "squeezenet", "vgg16"] {
        assert!(with_windows.iter().any(|with| with == name), "{name} is not among {with_windows:?}");
    }
}
