//! Whatever a file holds, reading it ends soon, in a graph or an error that says what is wrong.

mod onnx_support;

use std::path::Path;

use bytes::Bytes;
use onnx_support::proto::{
    NodeProto, TensorProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};
use onnx_support::*;
use proptest::prelude::*;
use prost::Message;
use whycam_graph::engine::ModelBytes;
use whycam_graph::onnx::{ReadOptions, external_locations, read, write};

/// A small network with a bit of everything.
fn sample() -> ModelBytes {
    let branch = |name: &str| inner(&[node(name, &["h"], &["o"], &[])], "o");
    file(17)
        .input("x", F32, "N,3,8,8")
        .floats("w", &[4, 3, 3, 3])
        .init(external_tensor("b", &[4], &[("location", "net.data"), ("offset", "4"), ("length", "16")]))
        .external("net.data", &[0; 20])
        .node("Conv", &["x", "w", "b"], &["c"], &[ints("pads", &[1, 1, 1, 1]), ints("strides", &[2, 2])])
        .node("Clip", &["c", "", "six"], &["h"], &[])
        .init(float_tensor("six", &[], &[6.0]))
        .node("MaxPool", &["h"], &["p"], &[ints("kernel_shape", &[2, 2]), int("ceil_mode", 1)])
        .node("Shape", &["p"], &["shape"], &[])
        .ints("zero", &[0])
        .ints("open", &[-1])
        .node("Gather", &["shape", "zero"], &["n"], &[int("axis", 0)])
        .node("Concat", &["n", "open"], &["to"], &[int("axis", 0)])
        .node("Reshape", &["p", "to"], &["f"], &[])
        .node(
            "Constant",
            &[],
            &["flag"],
            &[tensor(
                "value",
                TensorProto { data_type: BOOL, int32_data: vec![1], ..TensorProto::default() },
            )],
        )
        .node(
            "If",
            &["flag"],
            &["z"],
            &[body("then_branch", branch("Abs")), body("else_branch", branch("Neg"))],
        )
        .output("f")
        .output("z")
        .bytes()
}

/// Reads, and writes what was read. Panics only if that is not the same graph.
fn survive(model: &ModelBytes) {
    let size = |size| ReadOptions { size };
    let _ = external_locations(&model.proto);
    let _ = read(model, &size(Some([5, 7])));
    let Ok(graph) = read(model, &size(None)) else { return };
    let Ok(written) = write(&graph) else { return };
    let again = read(&written, &size(None)).unwrap_or_else(|e| panic!("{e}\n{graph}"));
    assert_eq!(again.to_string(), graph.to_string());
}

fn with(model: &ModelBytes, proto: Vec<u8>) -> ModelBytes {
    ModelBytes { proto: proto.into(), ..model.clone() }
}

#[test]
fn the_sample_is_sound() {
    let graph = read(&sample(), &ReadOptions::default()).unwrap();
    assert!(node_lines(&graph).contains("f: f32[N,36] = Reshape(p) to=[N,36]"), "{graph}");
    survive(&sample());
}

#[test]
fn cut_at_every_byte() {
    let model = sample();
    for end in 0..model.proto.len() {
        survive(&with(&model, model.proto[..end].to_vec()));
    }
}

#[test]
fn one_bit_changed_in_every_byte() {
    let model = sample();
    for at in 0..model.proto.len() {
        let mut proto = model.proto.to_vec();
        proto[at] ^= 1 << (at % 8);
        survive(&with(&model, proto));
    }
}

proptest! {
    #[test]
    fn random_bytes(proto in proptest::collection::vec(any::<u8>(), 0..300)) {
        survive(&with(&ModelBytes::default(), proto));
    }

    #[test]
    fn random_mutations(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0usize..4), 1..12),
    ) {
        let model = sample();
        let mut proto = model.proto.to_vec();
        for (at, byte, kind) in changes {
            let at = at.index(proto.len());
            match kind {
                0 => proto.insert(at, byte),
                1 if proto.len() > 1 => drop(proto.remove(at)),
                // Repeats a stretch, as a whole field may be.
                2 => {
                    let end = (at + usize::from(byte)).min(proto.len());
                    let stretch = proto[at..end].to_vec();
                    proto.splice(at..at, stretch);
                }
                _ => proto[at] = byte,
            }
        }
        survive(&with(&model, proto));
    }
}

/// Inputs that once did harm.
#[test]
fn old_finds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hostile");
    let files = folder.read_dir().into_iter().flatten().flatten();
    for path in files.map(|f| f.path()).filter(|p| p.extension().is_some_and(|e| e == "onnx")) {
        survive(&with(&sample(), std::fs::read(path).unwrap()));
    }
}

fn relu(input: &str, output: &str) -> NodeProto {
    NodeProto { name: format!("make {output}"), ..node("Relu", &[input], &[output], &[]) }
}

#[test]
fn graphs_that_do_not_hang_together() {
    let start = || file(17).input("x", F32, "N,4");
    let cases = [
        (
            start().push(relu("b", "a")).push(relu("a", "b")).output("b"),
            "node \"make a\" (Relu) needs its own result",
        ),
        (
            start()
                .push(relu("c", "a"))
                .push(relu("c", "b"))
                .push(relu("d", "c"))
                .push(relu("c", "d"))
                .output("b"),
            "(Relu) needs its own result",
        ),
        (
            start().push(relu("ghost", "y")).output("y"),
            "node \"make y\" (Relu) uses \"ghost\", which nothing makes",
        ),
        (
            start().node("Relu", &["ghost"], &["y"], &[]).output("y"),
            "the Relu node that makes \"y\" uses \"ghost\"",
        ),
        (start().output("ghost"), "nothing makes the output \"ghost\""),
        (start().push(relu("x", "y")).push(relu("x", "y")).output("y"), "makes \"y\", which is taken"),
        (start().push(relu("x", "x")).output("x"), "makes \"x\", which is taken"),
        (start().input("x", F32, "N,4").output("x"), "two values are called \"x\""),
        (start().ints("w", &[1]).ints("w", &[1]).output("x"), "two initialisers are called \"w\""),
        (
            start().node("If", &["x"], &["y"], &[body("then_branch", inner(&[], "ghost"))]).output("y"),
            "uses \"ghost\", which nothing makes",
        ),
        (start().node("Relu", &[""], &["y"], &[]).output("y"), "takes 1 to 1 operands"),
        (start().node("Add", &["x", ""], &["y"], &[]).output("y"), "takes 2 to 2 operands"),
        (start().node("Concat", &["x", "x"], &["y"], &[]).output("y"), "attribute \"axis\" is missing"),
        (start().node("Softmax", &["x"], &["y"], &[int("axis", 7)]).output("y"), "axis 7 is outside rank 2"),
        (start().node("Softmax", &["x"], &["y"], &[int("axis", i64::MIN)]).output("y"), "is outside rank 2"),
        (
            start().node("Transpose", &["x"], &["y"], &[ints("perm", &[0, 0])]).output("y"),
            "[0, 0] does not permute [N,4]",
        ),
        (
            start().floats("w", &[3, 3]).node("MatMul", &["x", "w"], &["y"], &[]).output("y"),
            "cannot be multiplied",
        ),
        (start().ints("w", &[1]).node("Add", &["x", "w"], &["y"], &[]).output("y"), "f32 and i64 do not mix"),
    ];
    for (made, wanted) in cases {
        let message = made.refusal();
        assert!(message.contains(wanted), "wanted {wanted:?}, got {message:?}");
        assert!(message.contains("\nhint: "), "{message}");
    }
}

#[test]
fn tensors_that_contradict_themselves() {
    let sound = || float_tensor("w", &[2], &[1.0, 2.0]);
    let cases = [
        (TensorProto { dims: vec![3], ..sound() }, "\"w\": f32[3] takes 12 bytes, but there are 8"),
        (TensorProto { dims: vec![-2], ..sound() }, "\"w\": [-2] is not a shape"),
        (TensorProto { dims: vec![i64::MAX], ..sound() }, "is not a shape"),
        (TensorProto { dims: vec![1 << 31; 3], ..sound() }, "overflows"),
        (TensorProto { float_data: vec![1.0, 2.0], ..sound() }, "\"w\": it has data twice"),
        (
            TensorProto { raw_data: Bytes::new(), int64_data: vec![1, 2], ..sound() },
            "\"w\": its data is not in the list for f32",
        ),
        (
            TensorProto { raw_data: Bytes::new(), data_type: U8, int32_data: vec![1, 256], ..sound() },
            "\"w\": a number is outside u8",
        ),
        (TensorProto { segment: Some(Bytes::new()), ..sound() }, "cut in segments"),
    ];
    for (tensor, wanted) in cases {
        let message = file(17).input("x", F32, "N,2").init(tensor).output("x").refusal();
        assert!(message.contains(wanted), "wanted {wanted:?}, got {message:?}");
    }
}

#[test]
fn external_data_stays_in_the_folder() {
    let made = |entries: &[(&str, &str)]| {
        file(17)
            .input("x", F32, "N,2")
            .external("net.data", &[0; 16])
            .external("sub/net.data", &[0; 16])
            .external("./net.data", &[0; 16])
            .init(external_tensor("w", &[2], entries))
            .node("Add", &["x", "w"], &["y"], &[])
            .output("y")
    };
    let at = |location: &str| made(&[("location", location)]);
    assert!(at("net.data").read().is_ok());
    assert!(at("sub/net.data").read().is_ok());
    assert!(at("./net.data").read().is_ok());
    for location in [
        "",
        "/etc/passwd",
        "../net.data",
        "sub/../../net.data",
        ".",
        "sub/.",
        "sub//net.data",
        "sub/",
        "..",
        "C:/net.data",
        "C:net.data",
        "\\\\host\\net.data",
        "..\\net.data",
        "net.data:stream",
        "net\0.data",
    ] {
        let message = at(location).refusal();
        assert!(
            message.contains("hint: only files in the model's own folder are read"),
            "{location}: {message}"
        );
        assert!(external_locations(&at(location).bytes().proto).is_err(), "{location}");
    }
    let cases: &[(&[(&str, &str)], &str)] = &[
        (&[("location", "missing.data")], "but the file is missing\nhint: keep the file beside the model"),
        (&[("location", "net.data"), ("offset", "9")], "takes 8 bytes from byte 9, but there are 16"),
        (&[("location", "net.data"), ("offset", "18446744073709551615")], "but there are 16"),
        (&[("location", "net.data"), ("length", "4")], "takes 8 bytes there, not 4"),
        (&[("location", "net.data"), ("length", "99")], "takes 99 bytes from byte 0, but there are 16"),
        (&[("location", "net.data"), ("offset", "-1")], "its external offset \"-1\" is no size"),
        (&[("location", "net.data"), ("length", "many")], "its external length \"many\" is no size"),
    ];
    for (entries, wanted) in cases {
        let message = made(entries).refusal();
        assert!(message.contains(wanted), "wanted {wanted:?}, got {message:?}");
    }
}

/// Tensors in nodes that are not modelled, and in graphs inside nodes, are held to the same rules.
#[test]
fn external_data_of_inner_tensors_stays_in_the_folder() {
    let outside = external_tensor("t", &[2], &[("location", "../secret")]);
    let direct = node("Special", &["x"], &["y"], &[tensor("value", outside.clone())]);
    let mut branch = inner(&[node("Add", &["x", "t"], &["o"], &[])], "o");
    branch.initializer.push(outside);
    let nested = node("If", &["x"], &["y"], &[body("then_branch", branch)]);
    for node in [direct, nested] {
        let made = file(17).input("x", F32, "N,2").push(node).output("y");
        assert!(made.refusal().contains("only files in the model's own folder"), "{}", made.refusal());
        assert!(external_locations(&made.bytes().proto).is_err());
    }
}

/// Declared sizes cost nothing.
#[test]
fn huge_declared_shapes() {
    let huge = i64::from(i32::MAX);
    let start = || file(17).input("x", F32, "1,4");
    let filled =
        |dims: &[i64]| start().ints("s", dims).node("ConstantOfShape", &["s"], &["y"], &[]).output("y");
    let cases = [
        file(17).input("x", F32, "1,3,1000000000,1000000000").output("x"),
        file(17).input("x", F32, "9000000000000000000").output("x"),
        filled(&[huge, huge]),
        filled(&[huge, huge, huge, huge, huge, huge]),
        filled(&[huge, huge, huge, 0]),
        filled(&[1; 65]),
        start().ints("s", &[huge, huge, 4]).node("Expand", &["x", "s"], &["y"], &[]).output("y"),
        start().ints("p", &[huge, 0, huge, 0]).node("Pad", &["x", "p"], &["y"], &[]).output("y"),
        file(17)
            .input("x", F32, "1,1,2,2")
            .init(float_tensor("r", &[4], &[1.0, 1.0, 1e9, 1e9]))
            .node("Resize", &["x", "", "r"], &["y"], &[])
            .output("y"),
    ];
    for made in cases {
        let message = made.refusal();
        assert!(message.contains("exceeds a limit") || message.contains("a size is"), "{message}");
    }
    // As large as may be.
    assert!(filled(&[huge]).read().is_ok());
    assert!(filled(&[0, 5]).read().is_ok());
    // Numbers that overflow arithmetic.
    for pads in [[i64::MAX; 4], [i64::MIN; 4], [huge * 4; 4]] {
        let made = start().ints("p", &pads).node("Pad", &["x", "p"], &["y"], &[]).output("y");
        assert!(made.read().is_err());
    }
    for size in [i64::MAX, i64::MIN, -1, 0] {
        for name in ["kernel_shape", "strides", "dilations"] {
            let mut attributes = vec![ints(name, &[size, size])];
            if name != "kernel_shape" {
                attributes.push(ints("kernel_shape", &[1, 1]));
            }
            let made =
                file(17).input("x", F32, "1,1,4,4").node("MaxPool", &["x"], &["y"], &attributes).output("y");
            assert!(made.read().is_err(), "{name} {size}");
        }
    }
}

/// Few bytes must not become much memory.
#[test]
fn files_of_many_small_parts() {
    // Two bytes each: a million empty nodes and more.
    let field = |tag: u8, count: usize| [tag << 3 | 2, 0].repeat(count);
    let model = |graph: Vec<u8>| {
        let mut proto = vec![7 << 3 | 2];
        prost::encoding::encode_varint(graph.len() as u64, &mut proto);
        proto.extend(graph);
        read(&with(&ModelBytes::default(), proto), &ReadOptions::default()).unwrap_err().to_string()
    };
    assert!(model(field(1, 1_000_001)).contains("more than 1000000 nodes"));
    assert!(model(field(5, 4_000_001)).contains("more than 4000000 protobuf messages"));
    assert!(model(field(11, 4_000_001)).contains("more than 4000000 protobuf messages"));
}

/// The same thousand integers in very many values.
#[test]
fn shape_arithmetic_has_a_limit() {
    let start = || file(17).ints("v", &[1; 1024]);
    let message = start().node("Sum", &["v"; 17_000], &["y"], &[]).output("y").refusal();
    assert!(message.contains("integers in shape arithmetic"), "{message}");
    let outputs: Vec<String> = (0..17_000).map(|i| format!("y{i}")).collect();
    let copies = outputs.iter().fold(start(), |made, y| made.node("Identity", &["v"], &[y], &[]));
    assert!(copies.output("y0").refusal().contains("integers in shape arithmetic"));
}

#[test]
fn inputs_that_are_no_tensors() {
    let input = |about: TypeProto| {
        let info = ValueInfoProto { name: "x".into(), r#type: Some(about.encode_to_vec().into()) };
        let mut made = file(17);
        made.graph.input.push(info);
        made.output("x").refusal()
    };
    let tensor = |elem_type, shape| TypeProto { tensor_type: Some(TensorTypeProto { elem_type, shape }) };
    for about in [
        TypeProto::default(),
        tensor(F32, None),
        tensor(STRING, Some(TensorShapeProto::default())),
        tensor(0, Some(TensorShapeProto::default())),
    ] {
        let message = input(about);
        assert!(
            message.contains("input \"x\" is not declared as a tensor of numbers with a shape"),
            "{message}"
        );
    }
    let message = ModelBytes { proto: Bytes::from_static(b"\x08\x07"), ..ModelBytes::default() };
    let message = read(&message, &ReadOptions::default()).unwrap_err().to_string();
    assert!(message.contains("the file holds no graph"), "{message}");
    let message = with(&ModelBytes::default(), b"PK\x03\x04 this is a zip".to_vec());
    assert!(
        read(&message, &ReadOptions::default()).unwrap_err().to_string().contains("not a valid ONNX model")
    );
}

/// The elements of a range of reals are counted before any is made.
#[test]
fn ranges_of_reals_that_are_none_or_that_no_memory_holds() {
    let (nan, infinite) = (f32::NAN, f32::INFINITY);
    let range = |start: f32, limit: f32, step: f32| {
        let scalar = |name: &str, value: f32| float_tensor(name, &[], &[value]);
        let made =
            file(17).init(scalar("start", start)).init(scalar("limit", limit)).init(scalar("step", step));
        made.node("Range", &["start", "limit", "step"], &["y"], &[]).output("y")
    };
    for (start, limit, step) in [
        (0.0, infinite, 1.0),
        (-infinite, 0.0, 1.0),
        (infinite, infinite, 1.0),
        (nan, 1.0, 1.0),
        (0.0, nan, 1.0),
        (0.0, 1.0, nan),
        (0.0, 1.0, 0.0),
    ] {
        let told = range(start, limit, step).refusal();
        assert!(told.contains("\"y\": there is no range from") && told.contains("hint:"), "{told}");
    }
    for (limit, step) in [(1e15, 1.0), (3e9, 1.0), (-1e15, -1.0), (1.0, 1e-30), (f32::MAX, f32::MIN_POSITIVE)]
    {
        let told = range(0.0, limit, step).refusal();
        assert!(told.contains("exceeds a limit") && told.contains("at most 2147483648 elements"), "{told}");
    }
    for (limit, step) in [(-1.0, 1.0), (-infinite, 1.0), (1.0, -1e-30)] {
        assert!(range(0.0, limit, step).nodes().contains("y: f32[0]"), "{limit} {step}");
    }
}
