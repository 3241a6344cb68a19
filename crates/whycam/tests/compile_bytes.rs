//! Models that take the bytes of photos, compiled and explained.

mod common;

use common::compiled::{TOLERANCE, ask, off, run};
use common::{engines, numbers};
use whycam::graph::engine::ModelBytes;
use whycam::graph::op::{Conv, UnaryFn};
use whycam::graph::{Build, DType, Dim, Emit, Header, N, Op, Shape, Tensor, onnx};
use whycam::{
    Compile, Explained, Explainer, METHODS, Method, Model, ModelOptions, Question, Target, compile,
};

/// `image: uint8[N,6,5,3]` through a convolution and a ReLU to three scores.
fn model_of_bytes() -> ModelBytes {
    let mut b =
        Build::new(Header { ir_version: 8, opsets: [(String::new(), 17)].into(), ..Header::default() });
    let shape = Shape([N].into_iter().chain([6, 5, 3].map(Dim::Fixed)).collect());
    let x = b.input("image", DType::U8, shape).expect("new");
    let x = b.cast(x, DType::F32).expect("fits");
    let x = b.scale(x, 0.01).expect("fits");
    let x = b.transpose(x, &[0, 3, 1, 2]).expect("fits");
    let w = b.constant(Tensor::f32(&[4, 3, 3, 3], &numbers(108, 1)).expect("fits"));
    let conv = Conv { strides: vec![1; 2], dilations: vec![1; 2], pads: vec![(1, 1); 2], groups: 1 };
    let x = b.emit(Op::Conv(conv), &[x, w]).expect("fits");
    let x = b.unary(UnaryFn::Relu, x).expect("fits");
    let x = b.emit(Op::GlobalAveragePool, &[x]).expect("fits");
    let x = b.emit(Op::Flatten { axis: 1 }, &[x]).expect("fits");
    let w = b.constant(Tensor::f32(&[4, 3], &numbers(12, 2)).expect("fits"));
    let scores = b.matmul(x, w).expect("fits");
    onnx::write(&b.finish(vec![scores])).expect("written")
}

/// Maps of images `[N,1,6,5,3]` as explaining has them, `[3,6,5]` each; others as they are.
fn channels_first(map: &Tensor) -> Vec<f32> {
    let values = map.to_f32s();
    match map.shape() {
        [_, _, 6, 5, 3] => {
            values.chunks(90).flat_map(|map| (0..90).map(move |i| map[i % 30 * 3 + i / 30])).collect()
        }
        _ => values,
    }
}

#[test]
fn models_of_bytes_are_explained_as_they_are() {
    let file = model_of_bytes();
    let model = Model::from_bytes(&file, ModelOptions::default()).expect("a model");
    let (prep, _) = model.prep().expect("a guess");
    assert!(prep.to_string().contains("range=255:mean=0:std=1"), "{prep}");
    let photos: Vec<u8> = (0..180).map(|i| (i * i % 251) as u8).collect();
    let values: Vec<f32> = photos.iter().map(|&v| v.into()).collect();
    let x = Tensor::new(DType::U8, vec![2, 6, 5, 3], photos).expect("fits");
    let rows = model.rows(&[2, 6, 5, 3], &values).expect("two");
    let targets = || Explained::Targets(vec![Target::TOP1]);
    for engine in engines() {
        for info in METHODS.iter().filter(|info| info.kind.is_compilable()) {
            let place = format!("{} {}", engine.name(), info.name);
            let made = compile(&model, &file, &ask(info.name, targets())).expect(&place);
            let map = run(engine.as_ref(), &made.bytes, &[("image", x.clone())]).remove(1);
            let maps = channels_first(&map);
            let question = Question { methods: vec![Method::from(*info)], ..Question::default() };
            let explainer = Explainer::new(&model, engine.as_ref(), &question).expect(&place);
            let told =
                rows.iter().flat_map(|row| explainer.explain(row, &[]).expect(&place).maps.remove(0).values);
            let told: Vec<f32> = told.collect();
            let off = off(&maps, &told);
            assert!(off <= TOLERANCE, "{place}: {off}");
        }
    }
    // What is asked to prepare bytes once more is refused; what leaves them as they are is not.
    let with = |prep: &str| {
        let prep = Some(prep.parse().expect(prep));
        Model::from_bytes(&file, ModelOptions { prep, ..ModelOptions::default() })
    };
    let error = with("imagenet").expect_err("it makes fractions").to_string();
    assert!(error.contains("takes the bytes of photos") && error.contains("hint: "), "{error}");
    let model = with("resize=none:range=255").expect("bytes");
    let prep = model.prep().map(|(prep, _)| prep.clone());
    let baked = compile(&model, &file, &Compile { prep, ..ask("gradient", targets()) }).expect("compiled");
    let plain = compile(&model, &file, &ask("gradient", targets())).expect("compiled");
    for engine in engines() {
        let photo = run(engine.as_ref(), &baked.bytes, &[("photo", x.clone())]);
        let image = run(engine.as_ref(), &plain.bytes, &[("image", x.clone())]);
        for (a, b) in photo.iter().zip(&image) {
            assert_eq!(a.to_f32s(), b.to_f32s(), "{}", engine.name());
        }
    }
}
