//! What holds for every engine: types, external data, errors, and what each says of itself.

mod common;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Barrier;

use bytes::Bytes;
use common::{engines, nets, relative_l2};
use whycam_engine::{Device, ENGINES, EngineOptions, Lanes, engine, load, load_for};
use whycam_graph::engine::ModelBytes;
use whycam_graph::op::{BinaryFn, CompareFn, UnaryFn};
use whycam_graph::tensor::External;
use whycam_graph::{Build, DType, Emit, Error, Graph, Header, Op, Program, Shape, Tensor, onnx};

fn build() -> Build {
    Build::new(Header { ir_version: 8, opsets: [(String::new(), 17)].into(), ..Header::default() })
}

/// `x` cast to a type, turned by one transposition, so that a whole tensor comes back.
fn transposed(dtype: DType) -> Graph {
    let mut b = build();
    let x = b.input("x", dtype, Shape::fixed(&[2, 3])).expect("free name");
    let y = b.transpose(x, &[1, 0]).expect("a matrix");
    b.finish(vec![y])
}

/// `[0, 1, 2, 3, 4, 5]` as a type; 0 and 1 alternating for bool.
fn numbers(dtype: DType, order: [usize; 6]) -> Tensor {
    let shape =
        |tensor: Tensor| if order[1] == 1 { tensor } else { tensor.reshape(vec![3, 2]).expect("six") };
    let data: Vec<u8> = match dtype {
        d if d.is_float() => {
            let values = order.map(|v| v as f32 - 2.5);
            return shape(Tensor::floats(dtype, &[2, 3], &values).expect("whole"));
        }
        DType::Bool => order.iter().map(|v| (v % 2) as u8).collect(),
        _ => order.iter().flat_map(|v| v.to_le_bytes()[..dtype.size()].to_vec()).collect(),
    };
    shape(Tensor::new(dtype, vec![2, 3], data).expect("whole"))
}

#[test]
fn every_type_goes_in_and_out() {
    let all = [
        DType::F32,
        DType::F64,
        DType::F16,
        DType::Bf16,
        DType::I64,
        DType::I32,
        DType::I16,
        DType::I8,
        DType::U64,
        DType::U32,
        DType::U16,
        DType::U8,
        DType::Bool,
    ];
    for engine in engines() {
        for dtype in all {
            // rten has 32-bit numbers and bytes only.
            let known = [DType::F32, DType::I64, DType::I32, DType::I8, DType::U8, DType::Bool];
            if engine.name() == "rten" && !known.contains(&dtype) {
                continue;
            }
            let place = format!("{dtype} in {}", engine.name());
            let program =
                load(engine.as_ref(), &transposed(dtype)).unwrap_or_else(|e| panic!("{place}: {e}"));
            let given = numbers(dtype, [0, 1, 2, 3, 4, 5]);
            let outputs = program.run(&[("x", given)]).unwrap_or_else(|e| panic!("{place}: {e}"));
            let wanted = numbers(dtype, [0, 3, 1, 4, 2, 5]);
            assert_eq!(outputs[0].shape(), [3, 2], "{place}");
            assert_eq!(outputs[0].to_f64s(), wanted.to_f64s(), "{place}");
            if engine.name() == "ort" {
                assert_eq!(outputs[0].dtype(), dtype);
            }
        }
    }
}

/// Weights that are fed at every run are those of the constants, wherever their bytes lie.
#[test]
fn weights_may_be_fed() {
    let numbers = |count: usize| (0..count).map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0).collect::<Vec<_>>();
    let given = Tensor::f32(&[3, 128], &numbers(3 * 128)).expect("fits");
    let weight = Tensor::f32(&[128, 160], &numbers(128 * 160)).expect("fits");
    for at in 0..4 {
        let bytes = Bytes::from([&vec![0; at][..], weight.data()].concat()).slice(at..);
        let weight = Tensor::new(DType::F32, weight.shape().to_vec(), bytes).expect("fits");
        let mut b = build();
        let x = b.input("x", DType::F32, Shape::fixed(&[3, 128])).expect("free name");
        let w = b.named_constant("w", weight).expect("free");
        let y = b.emit(Op::MatMul, &[x, w]).expect("fits");
        let graph = b.finish(vec![y]);
        for engine in engines() {
            assert_eq!(
                onnx::lend(&graph, engine.feeds()).expect("written").fed.len(),
                usize::from(engine.feeds())
            );
            let said = |many| {
                let program = load_for(engine.as_ref(), &graph, many).expect("loads");
                program.run(&[("x", given.clone())]).expect("runs").remove(0).to_f64s()
            };
            // The same sums; terms may be taken in another order.
            assert!(relative_l2(&said(true), &said(false)) < 1e-6, "{} at {at}", engine.name());
        }
    }
}

/// Lanes run at the same time, say what one program says, in the order of the jobs, and end with the first error.
#[test]
fn lanes_are_one_program() {
    let graph = transposed(DType::F32);
    let two = EngineOptions { threads: NonZeroUsize::new(2), ..EngineOptions::default() };
    for name in engines().iter().map(|engine| engine.name()) {
        let engine = engine(name, two).expect("there");
        let lanes = Lanes::load(engine.as_ref(), &graph).expect("loads");
        assert_eq!(lanes.count(), 2, "{name}");
        // Nobody passes it alone.
        let met = Barrier::new(lanes.count());
        let told = lanes.each(&[0, 1], |_, &job| {
            met.wait();
            Ok::<_, Error>(job)
        });
        assert_eq!(told.expect("both"), [0, 1], "{name}");

        let jobs: Vec<f32> = (0..50u8).map(f32::from).collect();
        let given = |&job: &f32| Tensor::f32(&[2, 3], &[job, 1.0, 2.0, 3.0, 4.0, 5.0]).expect("fits");
        let run = |program: &dyn Program, job: &f32| program.run(&[("x", given(job))]);
        let alone = load(engine.as_ref(), &graph).expect("loads");
        let wanted: Vec<_> = jobs.iter().map(|job| run(alone.as_ref(), job).expect("runs")).collect();
        assert_eq!(lanes.each(&jobs, run).expect("run"), wanted, "{name}");

        let failing = |_: &dyn Program, &job: &f32| if job < 20.0 { Ok(()) } else { Err(job) };
        let error = lanes.each(&jobs, failing).expect_err("most fail");
        assert!(error < 22.0, "{name}: {error}, though no job is begun behind an error");
    }
}

#[test]
fn masks_of_what_is_no_normal_number() {
    let mut b = build();
    let x = b.input("x", DType::F32, Shape::fixed(&[6])).expect("free name");
    let above = b.compare(x, CompareFn::Greater, 0.0).expect("fits");
    let mask = b.cast(above, DType::F32).expect("fits");
    let graph = b.finish(vec![mask]);
    // The last is subnormal, and half of 1/f32::MAX.
    let given = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, f32::MIN_POSITIVE, 0.5 / f32::MAX];
    for engine in engines() {
        let x = Tensor::f32(&[6], &given).expect("whole");
        let found = load(engine.as_ref(), &graph).expect("loads").run(&[("x", x)]).expect("runs");
        let found = found[0].to_f32s();
        assert_eq!(found[1..5], [1.0, 0.0, 0.0, 1.0], "{}", engine.name());
        // ONNX Runtime's graph has a product where the others compare (`pass/blocked.rs`).
        match engine.name() {
            "ort" => assert!(found[0].is_nan() && (0.4..0.6).contains(&found[5]), "{found:?}"),
            name => assert_eq!((found[0], found[5]), (0.0, 1.0), "{name}"),
        }
    }
}

#[test]
fn weights_in_a_file_beside_the_model_are_found() {
    ["folder/weights.data", "model.weight"].into_iter().for_each(weights_are_found_at);
}

fn weights_are_found_at(location: &str) {
    let mut b = build();
    let x = b.input("x", DType::F32, Shape::fixed(&[1, 2])).expect("free name");
    let all: Bytes =
        [9.0f32, 1.0, 2.0, 3.0, 4.0].iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>().into();
    b.buffer(location, all.clone());
    let external = External { location: location.into(), offset: 4 };
    let w = Tensor::new(DType::F32, vec![2, 2], all.slice(4..)).expect("whole").with_external(external);
    let w = b.named_constant("w", w).expect("free name");
    let y = b.matmul(x, w).expect("fits");
    let graph = b.finish(vec![y]);
    let model = onnx::write(&graph).expect("can be written");
    assert_eq!(model.external.keys().collect::<Vec<_>>(), [location]);
    for engine in engines() {
        let program = load(engine.as_ref(), &graph).unwrap_or_else(|e| panic!("{}: {e}", engine.name()));
        let x = Tensor::f32(&[1, 2], &[1.0, 10.0]).expect("whole");
        assert_eq!(program.run(&[("x", x)]).expect("runs")[0].to_f32s(), [31.0, 42.0], "{}", engine.name());
        let missing = ModelBytes { external: BTreeMap::new(), ..model.clone() };
        assert!(engine.load(missing).is_err(), "{} loads a model without its weights", engine.name());
    }
}

#[test]
fn a_run_that_fails_is_an_error() {
    for engine in engines() {
        let program = load(engine.as_ref(), &transposed(DType::F32)).expect("loads");
        let wrong = Tensor::f32(&[3], &[1.0, 2.0, 3.0]).expect("whole");
        for inputs in [vec![], vec![("x", wrong)]] {
            let error = program.run(&inputs).expect_err("it does not fit").to_string();
            assert!(error.starts_with(&format!("engine {}: running failed", engine.name())), "{error}");
            assert!(error.contains("\nhint: "), "{error}");
        }
        let garbage = ModelBytes { proto: Bytes::from_static(b"no model"), ..ModelBytes::default() };
        let error = engine.load(garbage).err().expect("it is no model").to_string();
        assert!(error.contains("loading failed"), "{error}");
    }
}

#[test]
fn a_program_runs_in_several_threads_at_once() {
    for engine in engines() {
        let program = load(engine.as_ref(), &transposed(DType::F32)).expect("loads");
        std::thread::scope(|scope| {
            for i in 0..4 {
                let program = &program;
                scope.spawn(move || {
                    for _ in 0..20 {
                        let x = Tensor::f32(&[2, 3], &[i as f32; 6]).expect("whole");
                        let y = program.run(&[("x", x)]).expect("runs").remove(0);
                        assert_eq!(y.to_f32s(), [i as f32; 6]);
                    }
                });
            }
        });
    }
}

/// What loading says of a ReLU and an addition whose operators have other names.
fn refused(relu: &str, add: &str) -> String {
    let mut b = build();
    b.header_mut().opsets.insert(String::new(), 20);
    let x = b.input("x", DType::F32, Shape::fixed(&[1, 4])).expect("free name");
    let one = b.unary(UnaryFn::Relu, x).expect("fits");
    let other = b.emit(Op::Binary(BinaryFn::Add), &[x, x]).expect("fits");
    let graph = b.finish(vec![one, other]);
    let mut model = onnx::write(&graph).expect("can be written");
    let text = replaced(&model.proto, b"Relu", relu.as_bytes());
    model.proto = replaced(&text, b"Add", add.as_bytes()).into();
    let graph = onnx::read(&model, &onnx::ReadOptions::default()).expect("opaque nodes are kept");
    let engine = engine("rten", EngineOptions::default()).expect("always there");
    load(engine.as_ref(), &graph).err().expect("it has no such operators").to_string()
}

/// All are named before anything runs, with what to do.
#[test]
fn every_node_that_an_engine_lacks_is_named() {
    let error = refused("Relu", "Det");
    assert!(error.contains("Det") && !error.contains("Relu"), "{error}");
    assert!(error.contains("hint: --engine ort"), "{error}");
    // An operator that ONNX has not either is no better in another engine.
    let error = refused("Rilu", "Det");
    assert!(error.contains("Rilu") && error.contains("Det") && error.contains("2 nodes"), "{error}");
    assert!(
        error.contains("ONNX has no such operator\n") && error.contains("hint: the exporter left"),
        "{error}"
    );
}

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for i in 0..bytes.len() - from.len() {
        if bytes[i..].starts_with(from) {
            bytes[i..i + to.len()].copy_from_slice(to);
        }
    }
    bytes
}

#[test]
fn engines_agree_on_a_network_whatever_the_threads() {
    let there = engines();
    let net = nets().into_iter().find(|net| net.name == "resnet18").expect("it is there");
    let graph = net.graph("legacy");
    let name = graph.value(graph.inputs()[0]).name.clone();
    let mut scores: Vec<(String, Vec<f64>)> = Vec::new();
    for engine_name in there.iter().map(|e| e.name()) {
        for threads in [1, 2] {
            let options = EngineOptions { threads: NonZeroUsize::new(threads), ..EngineOptions::default() };
            let engine = engine(engine_name, options).expect("it was there");
            let program = load(engine.as_ref(), &graph).expect("loads");
            let output = program.run(&[(&name, net.array("x").tensor())]).expect("runs").remove(0);
            scores.push((format!("{engine_name} with {threads}"), output.to_f64s()));
        }
    }
    for (what, other) in &scores {
        // float32 in another order of summation.
        assert!(relative_l2(other, &scores[0].1) < 1e-5, "{what} differs from {}", scores[0].0);
    }
}

#[test]
fn devices_that_are_not_there_are_refused() {
    let on = |name: &str, device: Device| engine(name, EngineOptions { device, ..EngineOptions::default() });
    let error = on("rten", Device::Cuda).err().expect("rten has no devices").to_string();
    assert!(error.contains("cuda") && error.contains("hint: take --engine ort"), "{error}");
    if engines().len() > 1 {
        for device in [Device::Cuda, Device::TensorRt, Device::CoreMl, Device::DirectMl] {
            // The library of the Python package `onnxruntime` has none of them on Linux.
            match on("auto", device) {
                Ok(engine) => assert_eq!(engine.name(), "ort"),
                Err(error) => assert!(error.to_string().contains(device.name()), "{error}"),
            }
        }
    }
    for device in Device::ALL {
        assert_eq!(device.name().parse::<Device>(), Ok(device));
    }
    assert!("tpu".parse::<Device>().expect_err("no such device").to_string().contains("tensorrt"));
}

#[test]
fn engines_say_what_they_are() {
    assert_eq!(ENGINES, ["auto", "rten", "ort"]);
    let lock = include_str!("../../../Cargo.lock");
    let version = lock.split("name = \"rten\"\nversion = \"").nth(1).expect("rten is locked");
    for engine in engines() {
        match engine.name() {
            "rten" => {
                assert!(version.starts_with(&format!("{}.", engine.version())), "{}", engine.version());
                assert_eq!(engine.library(), None);
            }
            _ => {
                let path = engine.library().expect("a file");
                assert_eq!(Some(path.as_os_str()), std::env::var_os("ORT_DYLIB_PATH").as_deref());
                assert!(engine.version().starts_with("1."), "{}", engine.version());
            }
        }
    }
    let unknown = engine("onnx", EngineOptions::default()).err();
    assert!(matches!(unknown, Some(Error::Name { .. })), "{unknown:?}");
    let auto = engine("auto", EngineOptions::default()).expect("there is always one");
    assert!(engines().iter().any(|e| e.name() == auto.name()) || auto.library().is_some());
}
