//! Small networks, and the three proofs that every rule goes through.

#![allow(dead_code, reason = "each test file uses some of these")]

pub mod asked;
pub mod excitation;
pub mod nets;

use proptest::test_runner::{Config, RngSeed};
use whycam_graph::diff::{self, ReluRule, Rules, Seed};
use whycam_graph::op::{Conv, Window};
use whycam_graph::{Build, DType, Dim, Emit, Graph, Header, N, Op, Result, Shape, Tensor, ValueId};
use whycam_interp::check::finite_difference;
use whycam_interp::{Array, run};

/// Central differences of float64 are good to about 1e-9 here, but rules hold constants as float32
/// (`1/9`, `√(2/π)`, interpolation weights), which are good to 6e-8 each.
pub const DIFFERENCES: f64 = 1e-6;

/// Both sides of an identity are computed from the same constants in float64 with some hundred
/// roundings each.
pub const EXACT: f64 = 1e-12;

/// The rules, in the order of [`ReluRule`].
pub const RELU_RULES: [ReluRule; 3] = [ReluRule::Gradient, ReluRule::Deconvnet, ReluRule::Guided];

/// `count` cases, the same in every run; `PROPTEST_CASES` and `PROPTEST_RNG_SEED` ask for others.
pub fn cases(count: u32) -> Config {
    let asked = Config::default();
    Config {
        cases: if std::env::var_os("PROPTEST_CASES").is_some() { asked.cases } else { count },
        rng_seed: match asked.rng_seed {
            RngSeed::Random => RngSeed::Fixed(0),
            fixed => fixed,
        },
        failure_persistence: None,
        ..asked
    }
}

/// A network in the making, with the numbers for its inputs.
pub struct Net {
    pub b: Build,
    pub given: Vec<(String, Array)>,
    pub dtype: DType,
    seed: u64,
}

impl Net {
    /// A network whose weights follow from `seed`.
    pub fn new(seed: u64) -> Net {
        Net { b: Build::new(Header::default()), given: Vec::new(), dtype: DType::F32, seed }
    }

    /// An input of the array's shape.
    pub fn input(&mut self, name: &str, array: Array) -> ValueId {
        let shape = Shape::fixed(&array.shape);
        self.shaped(name, array, shape)
    }

    /// An input whose first axis is the batch.
    pub fn batch(&mut self, name: &str, array: Array) -> ValueId {
        let mut shape = Shape::fixed(&array.shape);
        shape.0[0] = N;
        self.shaped(name, array, shape)
    }

    fn shaped(&mut self, name: &str, array: Array, shape: Shape) -> ValueId {
        self.given.push((name.into(), array));
        self.b.input(name, self.dtype, shape).unwrap()
    }

    /// Random weights in `[-1, 1)`, in float32 as models have them.
    pub fn weights(&mut self, shape: &[usize]) -> ValueId {
        self.between(shape, -1.0, 1.0)
    }

    /// Random weights in `[low, high)`.
    pub fn between(&mut self, shape: &[usize], low: f64, high: f64) -> ValueId {
        self.seed = self.seed.wrapping_add(1);
        let unit = Array::random(shape, self.seed).map(|v| (v + 1.0) / 2.0);
        let values: Vec<f32> = unit.data.iter().map(|v| (low + v * (high - low)) as f32).collect();
        self.values(shape, &values)
    }

    /// These weights.
    pub fn values(&mut self, shape: &[usize], values: &[f32]) -> ValueId {
        self.b.constant(Tensor::floats(self.dtype, shape, values).unwrap())
    }

    /// Integers.
    pub fn integers(&mut self, shape: &[usize], values: &[i64]) -> ValueId {
        self.b.constant(Tensor::i64(shape, values).unwrap())
    }

    /// The first result of a node.
    #[track_caller]
    pub fn op(&mut self, op: Op, inputs: &[ValueId]) -> ValueId {
        self.b.emit(op, inputs).unwrap()
    }

    /// The shape that a value has in a run on the given numbers.
    pub fn shape(&self, id: ValueId) -> Shape {
        self.b.graph().shape(id).unwrap().clone()
    }

    /// The network and what it is given.
    pub fn finish(self, output: ValueId) -> (Graph, Vec<(String, Array)>) {
        (self.b.finish(vec![output]), self.given)
    }
}

/// Numbers far from each other, from 0 and from whole numbers, so that no kink is near.
pub fn separated(shape: &[usize], seed: u64) -> Array {
    let keys = Array::random(shape, seed);
    let count = keys.data.len();
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by(|&i, &j| keys.data[i].total_cmp(&keys.data[j]));
    let mut array = Array::zeros(shape);
    for (rank, &i) in order.iter().enumerate() {
        array.data[i] = (rank as f64 - count as f64 / 2.0 + 0.37) * 3.97 / count as f64;
    }
    array
}

/// Fails unless `max|a − b| ≤ tolerance · max|b|`; where `b` is all but zero, its size counts as 1/100.
#[track_caller]
pub fn assert_close(a: &Array, b: &Array, tolerance: f64, about: impl std::fmt::Display) {
    assert_eq!(a.shape, b.shape, "shapes differ: {about}");
    let size = b.data.iter().fold(1e-2f64, |most, v| most.max(v.abs()));
    for (x, y) in a.data.iter().zip(&b.data) {
        assert!((x - y).abs() <= tolerance * size, "{a:?}\nis not\n{b:?}\n{about}");
    }
}

/// The graph that sends the input `cotangent` back from `target`; its outputs are the signals.
pub fn derived(
    graph: &Graph,
    target: ValueId,
    read_at: &[ValueId],
    relu: ReluRule,
    copies: Option<usize>,
) -> Result<Graph> {
    let mut b = Build::extend(graph);
    let mut shape = graph.shape(target)?.clone();
    shape.0.splice(0..0, copies.map(Dim::Fixed));
    let dtype = graph.value(target).dtype.unwrap_or(DType::F32);
    let cotangent = b.input("cotangent", dtype, shape)?;
    let swept = diff::backward(
        &mut b,
        Seed { target, cotangent, copies, hot: None },
        read_at,
        Rules { relu, ..Rules::default() },
    )?;
    Ok(b.finish(swept.signals))
}

/// Runs a graph, with other numbers beside the given ones.
#[track_caller]
pub fn run_with(graph: &Graph, given: &[(String, Array)], more: &[(&str, &Array)]) -> Vec<Array> {
    let mut all: Vec<(&str, Array)> = given.iter().map(|(n, a)| (n.as_str(), a.clone())).collect();
    all.extend(more.iter().map(|(n, a)| (*n, (*a).clone())));
    run(graph, &all).unwrap_or_else(|e| panic!("{e}\n{graph}"))
}

/// The signals at `read_at` for one cotangent.
#[track_caller]
pub fn signals(
    graph: &Graph,
    given: &[(String, Array)],
    target: ValueId,
    read_at: &[ValueId],
    relu: ReluRule,
    cotangent: &Array,
) -> Vec<Array> {
    let derived = derived(graph, target, read_at, relu, None).unwrap_or_else(|e| panic!("{e}\n{graph}"));
    run_with(&derived, given, &[("cotangent", cotangent)])
}

/// Proves the rules on the way from every float input to `output`: the gradient equals central
/// differences, it is the adjoint of the Jacobian, and several cotangents at once equal single ones.
#[track_caller]
pub fn prove(net: Net, output: ValueId) {
    let (graph, given) = net.finish(output);
    prove_differences(&graph, &given, output, DIFFERENCES);
    prove_adjoint(&graph, &given, output);
    prove_copies(&graph, &given, output, ReluRule::Gradient);
}

fn value_of(graph: &Graph, given: &[(String, Array)]) -> Array {
    run_with(graph, given, &[]).remove(0)
}

fn ids(graph: &Graph, given: &[(String, Array)]) -> Vec<ValueId> {
    given.iter().map(|(name, _)| graph.find(name).unwrap()).collect()
}

/// The gradient equals central finite differences.
#[track_caller]
pub fn prove_differences(graph: &Graph, given: &[(String, Array)], output: ValueId, tolerance: f64) {
    let cotangent = Array::random(&value_of(graph, given).shape, 1);
    let read_at = ids(graph, given);
    let sent = signals(graph, given, output, &read_at, ReluRule::Gradient, &cotangent);
    let inputs: Vec<(&str, Array)> = given.iter().map(|(n, a)| (n.as_str(), a.clone())).collect();
    for ((name, _), signal) in given.iter().zip(sent) {
        let expected = finite_difference(graph, &inputs, name, &cotangent);
        assert_close(&signal, &expected, tolerance, format!("gradient of {name}\n{graph}"));
    }
}

/// ⟨Jv, u⟩ = ⟨v, Jᵀu⟩, where Jv differentiates the derived graph with respect to its cotangent.
#[track_caller]
pub fn prove_adjoint(graph: &Graph, given: &[(String, Array)], output: ValueId) {
    let u = Array::random(&value_of(graph, given).shape, 2);
    let read_at = ids(graph, given);
    let backward = derived(graph, output, &read_at, ReluRule::Gradient, None).unwrap();
    let sent = run_with(&backward, given, &[("cotangent", &u)]);
    let cotangent = backward.find("cotangent").unwrap();
    for (i, signal) in sent.iter().enumerate() {
        let v = Array::random(&signal.shape, 3);
        let mut b = Build::extend(&backward);
        let target = backward.outputs()[i];
        let tangent = b.input("tangent", DType::F32, backward.shape(target).unwrap().clone()).unwrap();
        let seed = Seed { target, cotangent: tangent, copies: None, hot: None };
        let swept = diff::backward(&mut b, seed, &[cotangent], Rules::default());
        let swept = swept.unwrap_or_else(|e| panic!("{e}\n{backward}"));
        let forward = b.finish(swept.signals);
        let jv = run_with(&forward, given, &[("cotangent", &u), ("tangent", &v)]).remove(0);
        let (left, right) = (jv.dot(&u), v.dot(signal));
        let norm = |a: &Array| a.dot(a).sqrt();
        // Where signals cancel, 1/100 of the size of what goes in.
        let size = (norm(&jv) * norm(&u)).max(norm(&v) * norm(signal)).max(norm(&v) * norm(&u) * 1e-2);
        // Sums of at most some thousand products, each rounded to 1e-16 of its size.
        assert!((left - right).abs() <= 1e-10 * size, "⟨Jv,u⟩ = {left}, ⟨v,Jᵀu⟩ = {right}\n{backward}");
    }
}

/// Three cotangents at once equal three single runs. Returns the signals at the inputs.
#[track_caller]
pub fn prove_copies(graph: &Graph, given: &[(String, Array)], output: ValueId, relu: ReluRule) -> Vec<Array> {
    const COPIES: usize = 3;
    let shape = value_of(graph, given).shape;
    let read_at = ids(graph, given);
    let many =
        derived(graph, output, &read_at, relu, Some(COPIES)).unwrap_or_else(|e| panic!("{e}\n{graph}"));
    let all = Array::random(&[&[COPIES], &shape[..]].concat(), 4);
    let together = run_with(&many, given, &[("cotangent", &all)]);
    for k in 0..COPIES {
        let alone = signals(graph, given, output, &read_at, relu, &copy(&all, k));
        for (a, b) in together.iter().zip(&alone) {
            assert_close(&copy(a, k), b, EXACT, format!("copy {k} under {relu:?}\n{many}"));
        }
    }
    together
}

/// The slice `k` of the first axis.
pub fn copy(all: &Array, k: usize) -> Array {
    let size = all.data.len() / all.shape[0];
    Array::new(&all.shape[1..], all.data[k * size..(k + 1) * size].to_vec())
}

/// A convolution with the same geometry along `axes` axes.
pub fn conv(axes: usize, stride: usize, pad: usize) -> Conv {
    Conv { strides: vec![stride; axes], dilations: vec![1; axes], pads: vec![(pad, pad); axes], groups: 1 }
}

/// Windows with the same geometry along two axes.
pub fn window(kernel: usize, stride: usize, pad: usize, ceil_mode: bool) -> Window {
    Window {
        kernel: vec![kernel; 2],
        strides: vec![stride; 2],
        dilations: vec![1; 2],
        pads: vec![(pad, pad); 2],
        ceil_mode,
    }
}
