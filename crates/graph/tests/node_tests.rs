//! The ONNX project's own node tests on floats (`golden/node_tests`): read, run forward against the stored results,
//! written and read again, and differentiated against finite differences, as the manifest says.

mod common;

use std::collections::{BTreeMap, HashMap};
use std::io::{Cursor, Read};
use std::path::Path;

use common::{copy, derived, run_with};
use whycam_graph::diff::ReluRule;
use whycam_graph::engine::ModelBytes;
use whycam_graph::onnx::{ReadOptions, is_standard, read, write};
use whycam_graph::{DType, Error, Graph, Op, ValueId};
use whycam_interp::{Array, run};

/// How many cases are differentiated; may only grow.
const DIFFERENTIATED: usize = 898;

/// Operands that the rules hold constant by definition, whose gradient is therefore none.
const HELD: [(&str, &str); 2] = [("DynamicQuantizeLinear", "x"), ("RoiAlign", "rois")];

struct Case {
    name: String,
    model: Vec<u8>,
    inputs: Vec<Array>,
    outputs: Vec<Array>,
}

/// What becomes of a case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Status {
    Differentiated,
    Opaque,
    OutOfScope,
}

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/node_tests")
}

fn cases() -> Vec<Case> {
    let packed = std::fs::read(folder().join("cases.npz.gz")).expect("cases.npz.gz");
    let mut archive = Vec::new();
    flate2::read::GzDecoder::new(packed.as_slice()).read_to_end(&mut archive).expect("gzip");
    let mut npz = npyz::npz::NpzArchive::new(Cursor::new(archive)).expect("npz");
    let mut names: Vec<String> = npz.array_names().map(str::to_owned).collect();
    names.sort_by_key(|name| (name.len(), name.clone()));
    let mut cases: BTreeMap<String, Case> = BTreeMap::new();
    for entry in names {
        let (name, part) = entry.split_once('/').expect("case/part");
        let npy = npz.by_name(&entry).expect("readable").expect("listed");
        let shape: Vec<usize> = npy.shape().iter().map(|&d| d as usize).collect();
        let order = npy.order();
        let case = cases.entry(name.to_owned()).or_insert_with(|| Case {
            name: name.to_owned(),
            model: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
        });
        if part == "model" {
            case.model = npy.into_vec::<u8>().expect("bytes");
            continue;
        }
        assert_eq!(order, npyz::Order::C, "{entry}");
        let array = Array::new(&shape, numbers(npy));
        if part.starts_with("input") { case.inputs.push(array) } else { case.outputs.push(array) }
    }
    cases.into_values().collect()
}

fn numbers<R: Read>(npy: npyz::NpyFile<R>) -> Vec<f64> {
    fn all<T: npyz::Deserialize + Copy, R: Read>(npy: npyz::NpyFile<R>, f: impl Fn(T) -> f64) -> Vec<f64> {
        npy.into_vec::<T>().expect("of that type").into_iter().map(f).collect()
    }
    match npy.dtype().descr().trim_matches('\'') {
        "<f4" => all::<f32, R>(npy, f64::from),
        "<f8" => all::<f64, R>(npy, |v| v),
        "<i8" => all::<i64, R>(npy, |v| v as f64),
        "<i4" => all::<i32, R>(npy, f64::from),
        "<i2" => all::<i16, R>(npy, f64::from),
        "|i1" => all::<i8, R>(npy, f64::from),
        "<u8" => all::<u64, R>(npy, |v| v as f64),
        "<u4" => all::<u32, R>(npy, f64::from),
        "<u2" => all::<u16, R>(npy, f64::from),
        "|u1" => all::<u8, R>(npy, f64::from),
        "|b1" => all::<bool, R>(npy, |v| f64::from(u8::from(v))),
        other => panic!("{other}"),
    }
}

/// `read` for bytes without files beside them.
fn graph_of(model: Vec<u8>) -> Result<Graph, Error> {
    read(&ModelBytes { proto: model.into(), ..ModelBytes::default() }, &ReadOptions::default())
}

fn given(graph: &Graph, inputs: &[Array]) -> Vec<(String, Array)> {
    let names = graph.inputs().iter().map(|&id| graph.value(id).name.clone());
    names.zip(inputs.iter().cloned()).collect()
}

/// Narrow floats are as good as their last digit; the reference computes in float32 otherwise.
fn tolerance(graph: &Graph) -> f64 {
    let types: Vec<DType> = graph.values().filter_map(|(_, v)| v.dtype).collect();
    match () {
        () if types.contains(&DType::Bf16) => 2e-2,
        () if types.contains(&DType::F16) => 3e-3,
        () => 1e-4,
    }
}

/// The results are those that the case stores.
fn forward(graph: &Graph, case: &Case) -> Result<(), String> {
    let inputs = given(graph, &case.inputs);
    let refs: Vec<(&str, Array)> = inputs.iter().map(|(n, a)| (n.as_str(), a.clone())).collect();
    let made = run(graph, &refs)?;
    let tolerance = tolerance(graph);
    for (i, (a, b)) in made.iter().zip(&case.outputs).enumerate() {
        if a.shape != b.shape {
            return Err(format!("result {i} is {:?}, not {:?}", a.shape, b.shape));
        }
        let finite = |v: &f64| if v.is_finite() { v.abs() } else { 0.0 };
        let size = b.data.iter().map(finite).fold(0.0, f64::max).max(1e-3);
        for (x, y) in a.data.iter().zip(&b.data) {
            let same = (x - y).abs() <= tolerance * size || x == y || (x.is_nan() && y.is_nan());
            if !same {
                return Err(format!("result {i} has {x} instead of {y}"));
            }
        }
    }
    Ok(())
}

/// A point near the case's own where kinks and ties are unlikely; values only grow, so that they stay in domains.
fn nearby(x: &Array, seed: u64) -> Array {
    let (a, b) = (Array::random(&x.shape, seed), Array::random(&x.shape, seed + 100));
    let data = x.data.iter().zip(a.data.iter().zip(&b.data));
    Array::new(&x.shape, data.map(|(x, (a, b))| x * (1.0 + 0.01 * a.abs()) + 0.003 * b.abs()).collect())
}

/// The gradients of every float result are those of finite differences, and two cotangents at once are two single ones.
fn gradients(graph: &Graph, case: &Case) -> Result<(), String> {
    let mut given = given(graph, &case.inputs);
    for (i, (_, x)) in given.iter_mut().enumerate() {
        *x = nearby(x, i as u64);
    }
    let read_at: Vec<(usize, ValueId)> = graph.inputs().iter().enumerate().map(|(i, &id)| (i, id)).collect();
    for (o, &output) in graph.outputs().iter().enumerate() {
        if !graph.value(output).dtype.is_some_and(DType::is_float) {
            continue;
        }
        let one = graph.with_outputs(&[output]);
        let target = one.outputs()[0];
        let cotangent = Array::random(&case.outputs[o].shape, 7);
        let score = |given: &[(String, Array)]| {
            let refs: Vec<(&str, Array)> = given.iter().map(|(n, a)| (n.as_str(), a.clone())).collect();
            run(&one, &refs).map(|made| made[0].dot(&cotangent))
        };
        for &(i, _) in &read_at {
            let name = &given[i].0;
            if HELD.iter().any(|(op, held)| held == name && graph.nodes().any(|(_, n)| n.op.name() == *op)) {
                continue;
            }
            let id = one.find(name).ok_or("an input is lost")?;
            let sent = match derived(&one, target, &[id], ReluRule::Gradient, None) {
                Ok(derived) => run_with(&derived, &given, &[("cotangent", &cotangent)]).remove(0),
                Err(Error::Unfit { what, .. }) if what.starts_with("no gradient") => {
                    Array::zeros(&given[i].1.shape)
                }
                Err(e) => return Err(e.to_string()),
            };
            for seed in 0..2 {
                let x = given[i].1.clone();
                let mut v = Array::random(&x.shape, seed + 20);
                let (mut along, mut size) = (0.0, 0.0);
                for (j, v) in v.data.iter_mut().enumerate() {
                    if !x.data[j].is_finite() {
                        *v = 0.0;
                        continue;
                    }
                    *v *= 1e-6 * x.data[j].abs().max(1.0);
                    along += *v * sent.data[j];
                    size += (*v * sent.data[j]).abs();
                }
                let mut moved = given.clone();
                let mut at = |sign: f64| {
                    let data = x.data.iter().zip(&v.data).map(|(x, v)| x + sign * v).collect();
                    moved[i].1 = Array::new(&x.shape, data);
                    score(&moved)
                };
                let (up, down) = (at(1.0)?, at(-1.0)?);
                let measured = (up - down) / 2.0;
                // Differences of sums of float64 lose what the sum is larger than its change.
                let noise = 1e-14 * (up.abs() + down.abs() + 1.0);
                if (measured - along).abs() > 1e-4 * size.max(1e-12) + noise || along.is_nan() {
                    return Err(format!("d output {o} / d {name} is {measured:e}, not {along:e}"));
                }
            }
            let shape = [&[2], &cotangent.shape[..]].concat();
            let both = Array::random(&shape, 8);
            if let Ok(many) = derived(&one, target, &[id], ReluRule::Gradient, Some(2)) {
                let together = run_with(&many, &given, &[("cotangent", &both)]).remove(0);
                let alone =
                    derived(&one, target, &[id], ReluRule::Gradient, None).map_err(|e| e.to_string())?;
                for k in 0..2 {
                    let single = run_with(&alone, &given, &[("cotangent", &copy(&both, k))]).remove(0);
                    let part = copy(&together, k);
                    let close = |(a, b): (&f64, &f64)| {
                        (a - b).abs() <= 1e-9 * (1.0 + b.abs()) || (a.is_nan() && b.is_nan())
                    };
                    if !part.data.iter().zip(&single.data).all(close) {
                        return Err(format!("copy {k} differs at {name}"));
                    }
                }
            } else if derived(&one, target, &[id], ReluRule::Gradient, None).is_ok() {
                return Err(format!("several cotangents cannot reach {name}"));
            }
        }
    }
    Ok(())
}

fn status(case: &Case) -> (Status, String) {
    let graph = match graph_of(case.model.clone()) {
        Ok(graph) => graph,
        Err(e) => return (Status::OutOfScope, e.to_string()),
    };
    let opaque: Vec<String> = graph
        .nodes()
        .filter_map(|(_, n)| match &n.op {
            // The project tests operators of its own alone.
            Op::Opaque(o) if o.domain.is_empty() && !is_standard(&o.op_type) => {
                panic!("{} is unknown", o.op_type)
            }
            Op::Opaque(o) => Some(format!("{}: {}", o.op_type, o.reason.clone().unwrap_or_default())),
            _ => None,
        })
        .collect();
    let again = || -> Result<Graph, String> {
        let bytes = write(&graph).map_err(|e| e.to_string())?;
        read(&bytes, &ReadOptions::default()).map_err(|e| format!("read again: {e}"))
    };
    let again = match again() {
        Ok(graph) => graph,
        Err(e) => return (Status::OutOfScope, e),
    };
    if !opaque.is_empty() {
        return (Status::Opaque, opaque.join(", "));
    }
    let checked = forward(&graph, case)
        .and_then(|()| forward(&again, case).map_err(|e| format!("written: {e}")))
        .and_then(|()| gradients(&graph, case));
    match checked {
        Ok(()) => (Status::Differentiated, String::new()),
        Err(e) => (Status::OutOfScope, e),
    }
}

/// What the manifest says of each case.
fn manifest() -> HashMap<String, Status> {
    let text = std::fs::read_to_string(folder().join("manifest.toml")).expect("manifest.toml");
    let table: toml::Table = text.parse().expect("manifest.toml is TOML");
    let mut all = HashMap::new();
    let mut note = |value: &toml::Value, status: Status| {
        for name in value.as_array().expect("a list").iter().filter_map(|v| v.as_str()) {
            assert!(all.insert(name.to_owned(), status).is_none(), "{name} is listed twice");
        }
    };
    note(&table["differentiated"], Status::Differentiated);
    for (list, status) in [("opaque", Status::Opaque), ("out-of-scope", Status::OutOfScope)] {
        for (_, names) in table[list].as_table().expect("a table") {
            note(names, status);
        }
    }
    all
}

#[test]
fn node_tests() {
    let (cases, manifest) = (cases(), manifest());
    let wanted = std::env::var("WHYCAM_CASE").unwrap_or_default();
    let cases: Vec<Case> = cases.into_iter().filter(|c| c.name.contains(&wanted)).collect();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let found: Vec<(String, Status, String)> = std::thread::scope(|scope| {
        let work = |i: usize| {
            let mine = cases.iter().skip(i).step_by(threads);
            let judged = mine.map(|case| {
                let (status, why) = status(case);
                (case.name.clone(), status, why)
            });
            judged.collect::<Vec<_>>()
        };
        let handles: Vec<_> = (0..threads).map(|i| scope.spawn(move || work(i))).collect();
        handles.into_iter().flat_map(|h| h.join().expect("no panic")).collect()
    });
    let mut counts: BTreeMap<Status, usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (name, status, why) in &found {
        *counts.entry(*status).or_default() += 1;
        if manifest.get(name) != Some(status) {
            wrong.push(format!("{name}\t{status:?}\t{}", why.replace('\n', " ")));
        }
    }
    wrong.sort();
    println!("{counts:?} of {} cases", found.len());
    assert!(wrong.is_empty(), "not as the manifest says:\n{}", wrong.join("\n"));
    if wanted.is_empty() {
        let count = counts.get(&Status::Differentiated).copied().unwrap_or_default();
        assert!(count >= DIFFERENTIATED, "{count} cases are differentiated; there were {DIFFERENTIATED}");
    }
}
