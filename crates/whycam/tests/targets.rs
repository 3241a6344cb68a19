//! Every kind of target: its score and gradient are those of its formula in float64, by central differences; alone, several
//! at once, and compiled into the model.

mod common;

use std::collections::HashMap;

use common::{agree, engines, numbers, wide};
use whycam::graph::engine::ModelBytes;
use whycam::graph::op::{Conv, Gemm, UnaryFn};
use whycam::graph::{Build, DType, Dim, Header, N, NamedNode, Op, Shape, Tensor, ValueId, onnx};
use whycam::{
    Compile, Explained, Explainer, Explanation, FromFile, Image, Layers, Model, ModelOptions, Question,
    Result, Target, compile,
};
use whycam_interp::Array;

const SIZE: usize = 6;
const CELLS: usize = SIZE * SIZE;
const PIXELS: usize = 3 * CELLS;

/// A network in the making.
struct Net(Build, Dim);

impl Net {
    fn node(&mut self, op: Op, inputs: &[ValueId], name: &str) -> ValueId {
        let inputs = inputs.iter().copied().map(Some).collect();
        let outputs = vec![Some(name.to_owned())];
        let node = NamedNode { op, inputs, outputs, name: name.to_owned(), module: None };
        self.0.named(node).expect(name)[0].expect("a result")
    }

    fn weights(&mut self, shape: &[usize], seed: usize) -> ValueId {
        let tensor = Tensor::f32(shape, &numbers(shape.iter().product(), seed)).expect("fits");
        self.0.constant(tensor)
    }

    fn conv(&mut self, x: ValueId, [to, from, kernel]: [usize; 3], seed: usize, name: &str) -> ValueId {
        let weights = self.weights(&[to, from, kernel, kernel], seed);
        let pads = vec![(kernel / 2, kernel / 2); 2];
        let conv = Conv { strides: vec![1; 2], dilations: vec![1; 2], pads, groups: 1 };
        self.node(Op::Conv(conv), &[x, weights], name)
    }

    fn reshape(&mut self, x: ValueId, rest: &[usize], name: &str) -> ValueId {
        let to = Shape([self.1].into_iter().chain(rest.iter().map(|&d| Dim::Fixed(d))).collect());
        self.node(Op::Reshape { to }, &[x], name)
    }
}

/// Smooth features; the outputs are scores of four classes and an embedding if asked, maps of three classes with the
/// channels last, boxes as YOLOv8 has them, boxes as YOLOv5 has them, and integers.
fn file(batch: Dim, classes: bool) -> ModelBytes {
    let opsets = [(String::new(), 17)].into();
    let header = Header { ir_version: 8, opsets, name: "many".into(), ..Header::default() };
    let mut net = Net(Build::new(header), batch);
    let dims = [3, SIZE, SIZE].map(Dim::Fixed);
    let shape = Shape([batch].into_iter().chain(dims).collect());
    let image = net.0.input("image", DType::F32, shape).expect("new");
    let x = net.conv(image, [5, 3, 3], 1, "conv");
    let features = net.node(Op::Unary(UnaryFn::Softplus), &[x], "features");
    let maps = net.conv(features, [3, 5, 1], 2, "planes");
    let maps = net.node(Op::Transpose { perm: vec![0, 2, 3, 1] }, &[maps], "maps");
    let pooled = net.node(Op::GlobalAveragePool, &[features], "pooled");
    let embedding = net.reshape(pooled, &[5], "embedding");
    let boxes = net.conv(features, [7, 5, 3], 3, "boxes");
    let yolo8 = net.reshape(boxes, &[7, CELLS], "yolo8");
    let boxes = net.conv(features, [8, 5, 1], 4, "more");
    let boxes = net.reshape(boxes, &[8, CELLS], "flat");
    let yolo5 = net.node(Op::Transpose { perm: vec![0, 2, 1] }, &[boxes], "yolo5");
    let best = net.node(Op::ArgMax { axis: 1, keep: true }, &[yolo5], "best");
    let mut outputs = vec![maps, yolo8, yolo5, best];
    if classes {
        let (w, c) = (net.weights(&[4, 5], 5), net.weights(&[4], 6));
        let gemm = Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: true };
        let scores = net.node(Op::Gemm(gemm), &[embedding, w, c], "scores");
        outputs = [vec![scores, embedding], outputs].concat();
    }
    onnx::write(&net.0.finish(outputs)).expect("written")
}

fn model(classes: bool, output: Option<&str>) -> Model {
    let options = ModelOptions {
        output: output.map(str::to_owned),
        labels: Some(["cat", "dog", "cow"].map(String::from).to_vec()),
        ..ModelOptions::default()
    };
    Model::from_bytes(&file(N, classes), options).expect("a model")
}

fn target(text: &str) -> Target {
    let read = |file: &str| -> std::result::Result<Tensor, ()> {
        Ok(match file {
            "e.npy" => Tensor::f32(&[5], &numbers(5, 9)).expect("fits"),
            "short.npy" => Tensor::f32(&[3], &numbers(3, 9)).expect("fits"),
            "zero.npy" => Tensor::f32(&[5], &[0.0; 5]).expect("fits"),
            "empty.png" => Tensor::f32(&[12, 12], &[0.0; 144]).expect("fits"),
            "left.png" => {
                let left: Vec<f32> = (0..144).map(|i| f32::from(u8::from(i % 12 < 4))).collect();
                Tensor::f32(&[12, 12], &left).expect("fits")
            }
            other => panic!("{other}"),
        })
    };
    text.parse::<Target>().expect(text).read_files(read).expect("read")
}

/// Formulas of targets, on the values of the network for one image.
type Formula = fn(&HashMap<&str, Array>) -> f64;

fn softmax(x: &[f64], class: usize) -> f64 {
    x[class].exp() / x.iter().map(|v| v.exp()).sum::<f64>()
}

const CASES: [(&str, Option<&str>, Formula); 12] = [
    ("class:2", None, |v| v["scores"].data[2]),
    ("log-prob:1", None, |v| softmax(&v["scores"].data, 1).ln()),
    ("output:maps[1,2,0]", None, |v| v["maps"].data[(SIZE + 2) * 3]),
    ("output:embedding[0,3]", None, |v| v["embedding"].data[3]),
    ("output:yolo8[5,11]", None, |v| v["yolo8"].data[5 * CELLS + 11]),
    ("segment:dog", None, |v| {
        let best = |cell: &&[f64]| cell[1] > cell[0] && cell[1] >= cell[2];
        v["maps"].data.chunks(3).filter(best).map(|cell| cell[1]).sum()
    }),
    ("segment:0@left.png", None, |v| {
        let left = |(i, cell): (usize, &[f64])| if i % SIZE < 2 { cell[0] } else { 0.0 };
        v["maps"].data.chunks(3).enumerate().map(left).sum()
    }),
    // Three labels, so that four numbers of the first detector's output and five of the other's are no classes.
    ("box:11:cow", None, |v| v["yolo8"].data[6 * CELLS + 11]),
    ("box:20:1", Some("yolo5"), |v| v["yolo5"].data[20 * 8 + 6]),
    ("similar:e.npy", None, |v| {
        let (a, e) = (&v["embedding"].data, wide(&numbers(5, 9)));
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        dot(a, &e) / (dot(a, a) * dot(&e, &e)).sqrt()
    }),
    ("output:yolo5[35,7]", None, |v| v["yolo5"].data[35 * 8 + 7]),
    ("class:0", None, |v| v["scores"].data[0]),
];

fn image(model: &Model) -> Image {
    model.rows(&[1, 3, SIZE, SIZE], &numbers(PIXELS, 7)).expect("one row").remove(0)
}

fn value(model: &Model, formula: Formula, pixels: &[f64]) -> f64 {
    let x = Array::new(&[1, 3, SIZE, SIZE], pixels.to_vec());
    let all = whycam_interp::run_all(model.graph(), &[("image", x)]).expect("runs");
    let names =
        model.graph().outputs().iter().map(|&id| (model.graph().value(id).name.as_str(), all[&id].clone()));
    formula(&names.collect())
}

/// Central differences.
fn gradient(model: &Model, formula: Formula) -> Vec<f64> {
    let pixels = wide(&numbers(PIXELS, 7));
    let moved = |i: usize, by: f64| {
        let mut pixels = pixels.clone();
        pixels[i] += by;
        value(model, formula, &pixels)
    };
    (0..PIXELS).map(|i| (moved(i, 1e-5) - moved(i, -1e-5)) / 2e-5).collect()
}

fn explain(model: &Model, methods: &[&str], targets: &[&str]) -> Result<Explanation> {
    let question = Question {
        methods: methods.iter().map(|m| m.parse().expect(m)).collect(),
        layers: Layers::Named(vec!["features".to_owned()]),
        targets: targets.iter().map(|t| target(t)).collect(),
        ..Question::default()
    };
    let engine = whycam::engine::engine("rten", Default::default()).expect("always there");
    Explainer::new(model, engine.as_ref(), &question)?.explain(&image(model), &[])
}

/// float32 sums of some dozens of terms against float64, and the engine's Softplus.
const TOLERANCE: f64 = 1e-4;

#[test]
fn each_is_its_formula() {
    for (text, output, formula) in CASES {
        let model = model(true, output);
        let answer = explain(&model, &["gradient", "grad-cam:relu=off"], &[text]).expect(text);
        let score = value(&model, formula, &wide(&numbers(PIXELS, 7)));
        let [map, cam] = answer.maps.as_slice() else { panic!("two maps") };
        println!("{text} {score} {} {:?} {}", map.label, map.class, map.score_kind);
        assert!(
            (f64::from(map.score) - score).abs() < 1e-4 * score.abs().max(1.0),
            "{text}: {}, {score}",
            map.score
        );
        agree(&map.values, &gradient(&model, formula), TOLERANCE);
        assert_eq!((map.target.as_str(), cam.layer.as_str()), (text, "features"));
        assert_eq!(map.probability.is_some(), text.starts_with("class:"));
        let of_a_class = !text.starts_with("output:") && !text.starts_with("similar:");
        assert_eq!(map.class.is_some(), of_a_class);
    }
}

/// Kinds may be mixed: one backward, and each map is what it is alone.
#[test]
fn several_at_once_are_each_alone() {
    for classes in [true, false] {
        let model = model(classes, None);
        let gone = ["class:", "log-prob:", "similar:", "output:embedding"];
        let asks_scores = |text: &str| gone.iter().any(|start| text.starts_with(start));
        let cases: Vec<&str> =
            CASES.iter().filter(|c| c.1.is_none() && (classes || !asks_scores(c.0))).map(|c| c.0).collect();
        let methods = &["gradient", "grad-cam:relu=off:pool=sum"];
        let together = explain(&model, methods, &cases).expect("all");
        assert_eq!(together.top.is_empty(), !classes);
        for text in cases {
            let alone = explain(&model, methods, &[text]).expect(text);
            for map in alone.maps {
                let same = |m: &&whycam::Map| (&m.method, &m.target) == (&map.method, &map.target);
                let found = together.maps.iter().find(same).expect("it is there");
                assert_eq!((found.class, &found.label, &found.layer), (map.class, &map.label, &map.layer));
                // Sums in another order.
                agree(&found.values, &wide(&map.values), 1e-5);
            }
        }
    }
}

#[test]
fn what_is_compiled_is_what_is_explained() {
    let bytes = file(N, true);
    let model = model(true, None);
    let targets = ["top:2", "segment:dog", "segment:0@left.png", "box:11:cow", "similar:e.npy", "log-prob:1"];
    let ask = Compile {
        method: "grad-cam".parse().expect("a method"),
        layer: Some("features".into()),
        classes: Explained::Targets(targets.iter().map(|t| target(t)).collect()),
        align: Question::default().align,
        prep: None,
        opset: None,
    };
    let made = compile(&model, &bytes, &ask).expect("compiled");
    let answer = explain(&model, &["grad-cam"], &targets).expect("explained");
    assert_eq!(answer.maps.len(), 7);
    let expected: Vec<f32> = answer.maps.iter().flat_map(|map| map.values.clone()).collect();
    for engine in engines() {
        let program = engine.load(made.bytes.clone()).expect("loads");
        let outputs = program.run(&[("image", image(&model).tensor)]).expect("runs");
        assert_eq!(outputs.len(), 6 + 3, "the model's own, map, heatmap and range");
        agree(&outputs[6].to_f32s(), &wide(&expected), TOLERANCE);
    }
}

#[test]
fn what_does_not_fit_is_refused_with_what_would() {
    let (with, without) = (model(true, None), model(false, None));
    let refused =
        |model: &Model, text: &str| explain(model, &["gradient"], &[text]).expect_err(text).to_string();
    for (text, told) in [
        ("output:maps[6,0,0]", "maps[6,0,0] lies outside of the output\nhint: the output is maps: [N,6,6,3]"),
        ("output:maps[1,0,0,0]", "is not in the first row"),
        ("output:maps[0,0]", "another number of axes"),
        (
            "output:nothing[0]",
            "there is no output \"nothing\"\nhint: the model's outputs are: scores [N,4], embedding",
        ),
        ("output:best[0,0]", "no gradient"),
        ("segment:3", "there is no class 3\nhint: the model has the classes 0 to 2"),
        ("segment:horse", "no class is called \"horse\""),
        ("segment:1@empty.png", "no cell of the 6×6 map lies in the mask \"empty.png\""),
        ("box:36:cat", "there is no box 36\nhint: the model has the boxes 0 to 35"),
        ("box:3:horse", "no class is called \"horse\""),
        ("similar:short.npy", "no output is an embedding of 3 numbers"),
        ("similar:zero.npy", "no direction"),
        ("log-prob:4", "the classes 0 to 3"),
    ] {
        let error = refused(&with, text);
        assert!(error.contains(told) && error.contains("hint: "), "{text}: {error}");
    }
    for text in ["top1", "class:1", "log-prob:1"] {
        let error = refused(&without, text);
        assert!(
            error.contains("no output ends in a class axis") && error.contains("maps [N,6,6,3]"),
            "{error}"
        );
    }
    let of_maps = model(true, Some("maps"));
    assert!(
        refused(&of_maps, "similar:e.npy").contains("the output \"maps\" is not an embedding of 5 numbers")
    );
    let unread = Target::Similar(FromFile { file: "x.npy".into(), array: None });
    let question = Question { targets: vec![unread], ..Question::default() };
    let engine = whycam::engine::engine("rten", Default::default()).expect("always there");
    assert!(Explainer::new(&with, engine.as_ref(), &question).is_err());
}

/// A class that is nowhere the likeliest has no region of its own in this image.
#[test]
fn a_class_that_is_nowhere_is_told() {
    let model = model(true, None);
    let pixels = wide(&numbers(PIXELS, 7));
    let nowhere = (0..3).find(|&class| {
        let x = Array::new(&[1, 3, SIZE, SIZE], pixels.clone());
        let all = whycam_interp::run_all(model.graph(), &[("image", x)]).expect("runs");
        let maps = &all[&model.graph().find("maps").expect("there")];
        !maps.data.chunks(3).any(|cell| cell.iter().all(|v| *v <= cell[class]))
    });
    let nowhere = nowhere.expect("one of the classes");
    let error =
        explain(&model, &["grad-cam"], &[&format!("segment:{nowhere}")]).expect_err("nowhere").to_string();
    assert!(error.contains("no cell of the image has") && error.contains("@FILE"), "{error}");
    explain(&model, &["grad-cam"], &[&format!("segment:{nowhere}@left.png")]).expect("by a mask");
}

/// A network of noise sees a class elsewhere, or nowhere: whether its map depends on weights cannot be told.
#[test]
fn weights_are_checked_for_a_region_that_stays() {
    let model = model(true, None);
    let engine = whycam::engine::engine("rten", Default::default()).expect("always there");
    let check = |text: &str| {
        let question = Question { targets: vec![target(text)], ..Question::default() };
        let check = whycam::sanity::Check { question: &question, steps: 2, seed: 1 };
        whycam::sanity::sanity(&model, engine.as_ref(), check, &image(&model), &[], &mut |_, _| ())
    };
    assert_eq!(check("segment:dog@left.png").expect("runs").len(), 1);
    let error = check("segment:dog").expect_err("no mask").to_string();
    assert!(error.contains("\"dog\"") && error.contains("hint: give a mask"), "{error}");
}

/// Every output with what can be asked of it, and each first example can be asked.
#[test]
fn what_fits_an_output() {
    let model = model(true, None);
    let told: Vec<Vec<String>> = model.targets().into_iter().map(|fits| fits.forms).collect();
    let expected: [&[&str]; 6] = [
        &["class:0…3", "log-prob:0…3", "output:scores[0…3]", "similar:FILE.npy (4 numbers)"],
        &["output:embedding[0…4]", "similar:FILE.npy (5 numbers)"],
        &["segment:0…2 (6×6 cells)", "output:maps[0…5,0…5,0…2]"],
        // One grid of boxes is a map of its numbers too.
        &["box:0…35:0…2", "segment:0…6 (6×6 cells)", "output:yolo8[0…6,0…35]"],
        &["box:0…35:0…2", "segment:0…7 (6×6 cells)", "output:yolo5[0…35,0…7]"],
        &[],
    ];
    assert_eq!(told, expected);
    for example in model.targets().into_iter().filter_map(|fits| fits.example) {
        let asked = model.asked(&example).unwrap_or_else(|e| panic!("{example}: {e}"));
        assert_eq!(asked.score().expect("a score").aims, usize::from(example != Target::TOP1));
    }
}
