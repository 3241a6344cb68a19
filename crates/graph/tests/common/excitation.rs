//! The slow twin of excitation backprop: the formulas of the paper in plain loops over dense matrices, which are
//! found by asking each node, run alone, what it makes of every unit vector.

use std::collections::{HashMap, HashSet};

use whycam_graph::diff::{self, LinearRule, Rules, Seed};
use whycam_graph::op::{BinaryFn, Op, ReduceKind, Resize, ResizeMode, UnaryFn};
use whycam_graph::{Build, DType, Dim, Graph, Header, Node, Result, Shape, ValueId};
use whycam_interp::{Array, run, run_all};

/// The rules of MWP or c-MWP.
pub fn rules(contrastive: bool) -> Rules {
    Rules { linear: LinearRule::Excitation { contrastive }, ..Rules::default() }
}

/// The graph that sends the input `cotangent` back from `target`; its outputs are the signals.
pub fn derived(
    graph: &Graph,
    target: ValueId,
    read_at: &[ValueId],
    rules: Rules,
    copies: Option<usize>,
) -> Result<Graph> {
    let mut b = Build::extend(graph);
    let mut shape = graph.shape(target)?.clone();
    shape.0.splice(0..0, copies.map(Dim::Fixed));
    let cotangent = b.input("cotangent", DType::F32, shape)?;
    let swept = diff::backward(&mut b, Seed { target, cotangent, copies, hot: None }, read_at, rules)?;
    Ok(b.finish(swept.signals))
}

/// A result of a node, run alone on other operands.
struct Alone {
    graph: Graph,
    names: Vec<Option<String>>,
}

impl Alone {
    fn new(node: &Node, operands: &[Option<Array>], output: usize) -> Alone {
        let mut b = Build::new(Header::default());
        let names: Vec<Option<String>> =
            operands.iter().enumerate().map(|(i, o)| o.as_ref().map(|_| format!("operand {i}"))).collect();
        let mut inputs = Vec::new();
        for (i, name) in names.iter().enumerate() {
            let integers = matches!(node.op, Op::Gather { .. }) && i == 1;
            let dtype = if integers { DType::I64 } else { DType::F32 };
            let shape = operands[i].as_ref().map(|a| Shape::fixed(&a.shape));
            inputs.push(name.as_ref().map(|n| b.input(n, dtype, shape.unwrap()).unwrap()));
        }
        let made = b.nodes(node.op.clone(), &inputs).unwrap();
        Alone { graph: b.finish(vec![made[output]]), names }
    }

    fn run(&self, operands: &[Option<Array>]) -> Array {
        let given: Vec<(&str, Array)> =
            self.names.iter().zip(operands).filter_map(|(n, a)| Some((n.as_deref()?, a.clone()?))).collect();
        run(&self.graph, &given).unwrap().remove(0)
    }
}

/// `w[i][j]`: what a unit of element `j` of operand `of` adds to element `i` of a result, the bias left out.
fn matrix(node: &Node, operands: &[Option<Array>], of: usize, output: usize) -> Vec<Vec<f64>> {
    let alone = Alone::new(node, operands, output);
    let mut operands = operands.to_vec();
    for (i, operand) in operands.iter_mut().enumerate() {
        if i == of || matches!(node.op, Op::Concat { .. }) {
            *operand = operand.as_ref().map(|a| Array::zeros(&a.shape));
        }
    }
    let nothing = alone.run(&operands);
    let size = operands[of].as_ref().unwrap().data.len();
    let mut w = vec![vec![0.0; size]; nothing.data.len()];
    for j in 0..size {
        operands[of].as_mut().unwrap().data[j] = 1.0;
        let unit = alone.run(&operands);
        operands[of].as_mut().unwrap().data[j] = 0.0;
        for (i, row) in w.iter_mut().enumerate() {
            row[j] = unit.data[i] - nothing.data[i];
        }
    }
    w
}

/// `P(aⱼ) = Σᵢ P(aⱼ|aᵢ)·P(aᵢ)` with `P(aⱼ|aᵢ) = aⱼ·w⁺ᵢⱼ / Σₖ aₖ·w⁺ᵢₖ`, 0 where that sum is.
fn shares(w: &[Vec<f64>], a: &Array, p: &Array) -> Array {
    let mut result = Array::zeros(&a.shape);
    for (i, row) in w.iter().enumerate() {
        let total: f64 = row.iter().zip(&a.data).map(|(w, a)| w.max(0.0) * a).sum();
        for (j, w) in row.iter().enumerate() {
            if total > 0.0 {
                result.data[j] += a.data[j] * w.max(0.0) / total * p.data[i];
            }
        }
    }
    result
}

/// Each cell's signal to the cell it was copied from.
fn copied(w: &[Vec<f64>], a: &Array, p: &Array) -> Array {
    let mut result = Array::zeros(&a.shape);
    for (i, row) in w.iter().enumerate() {
        for (j, w) in row.iter().enumerate() {
            result.data[j] += w * p.data[i];
        }
    }
    result
}

/// Each window's signal to its first maximum in scan order. Windows are found by what a large unit wins.
fn winners(node: &Node, a: &Array, p: &Array) -> Array {
    let alone = Alone::new(node, &[Some(a.clone())], 0);
    let y = alone.run(&[Some(a.clone())]);
    let mut taken = vec![false; y.data.len()];
    let mut result = Array::zeros(&a.shape);
    for j in 0..a.data.len() {
        let mut raised = a.clone();
        raised.data[j] = 1e6;
        let wins = alone.run(&[Some(raised)]);
        for (i, taken) in taken.iter_mut().enumerate() {
            if wins.data[i] == 1e6 && a.data[j] == y.data[i] && !*taken {
                *taken = true;
                result.data[j] += p.data[i];
            }
        }
    }
    result
}

fn is_constant(graph: &Graph, id: ValueId) -> bool {
    let value = graph.value(id);
    value.constant.is_some()
        || value
            .producer
            .is_some_and(|n| graph.node(n).inputs.iter().flatten().all(|&i| is_constant(graph, i)))
}

/// The numbers that the channels of `y` are multiplied with, when a batch norm is all that uses it.
fn scale_behind(graph: &Graph, values: &HashMap<ValueId, Array>, y: ValueId) -> Option<Array> {
    let mut users = graph.nodes().filter(|(_, n)| n.inputs.contains(&Some(y)));
    match (users.next(), users.next()) {
        (Some((_, n)), None) if matches!(n.op, Op::BatchNorm { .. }) => Some(values[&n.inputs[1]?].clone()),
        (Some((_, n)), None) if n.op == Op::Identity => scale_behind(graph, values, n.outputs[0]?),
        _ => None,
    }
}

/// The twin in progress.
struct Twin<'a> {
    graph: &'a Graph,
    values: HashMap<ValueId, Array>,
    contrastive: bool,
    /// Values that the signal reaches before it has passed weights.
    unweighted: HashSet<ValueId>,
}

/// The signals at all values, for the signal `p` at `target`.
pub fn twin(
    graph: &Graph,
    given: &[(String, Array)],
    target: ValueId,
    p: &Array,
    contrastive: bool,
) -> HashMap<ValueId, Array> {
    let named: Vec<(&str, Array)> = given.iter().map(|(n, a)| (n.as_str(), a.clone())).collect();
    let values = run_all(graph, &named).unwrap();
    let mut twin = Twin { graph, values, contrastive, unweighted: HashSet::from([target]) };
    let mut signals = HashMap::from([(target, p.clone())]);
    for (_, node) in graph.nodes().rev() {
        for (output, y) in node.outputs.iter().enumerate() {
            let Some(p) = y.and_then(|y| signals.get(&y).cloned()) else { continue };
            for (i, signal) in twin.send(node, output, &p) {
                let id = node.inputs[i].unwrap();
                let shape = &twin.values[&id].shape;
                let total = signals.entry(id).or_insert_with(|| Array::zeros(shape));
                // What an operand was broadcast to, it collects.
                Array::from_fn(&signal.shape, |at| {
                    let own = at[at.len() - shape.len()..].iter().zip(shape);
                    let own: Vec<usize> = own.map(|(&i, &n)| if n == 1 { 0 } else { i }).collect();
                    *total.at_mut(&own) += signal.at(at);
                    0.0
                });
            }
        }
    }
    signals
}

impl Twin<'_> {
    /// The operands that get signal, and what they get.
    fn send(&mut self, node: &Node, output: usize, p: &Array) -> Vec<(usize, Array)> {
        let y = node.outputs[output].unwrap();
        let operands: Vec<Option<Array>> =
            node.inputs.iter().map(|i| i.map(|i| self.values[&i].clone())).collect();
        let live: Vec<usize> = (0..node.inputs.len())
            .filter(|&i| node.inputs[i].is_some_and(|id| !is_constant(self.graph, id)))
            .collect();
        let first = live.first().copied().unwrap_or(0);
        let a = operands[first].as_ref().unwrap();
        let weighted = matches!(node.op, Op::Conv(_) | Op::ConvTranspose(_) | Op::Gemm(_) | Op::MatMul);
        let is_first = self.contrastive && self.unweighted.contains(&y);
        if is_first && !weighted {
            self.unweighted.extend(node.inputs.iter().flatten());
        }
        let w = |i| matrix(node, &operands, i, output);
        match &node.op {
            _ if weighted => {
                let mut w = w(first);
                if let Some(scale) = scale_behind(self.graph, &self.values, y) {
                    let cells: usize = p.shape[2..].iter().product();
                    for (i, row) in w.iter_mut().enumerate() {
                        let channel = i / cells % scale.data.len();
                        row.iter_mut().for_each(|w| *w *= scale.data[channel]);
                    }
                }
                let mut sent = shares(&w, a, p);
                if is_first {
                    let negated: Vec<Vec<f64>> =
                        w.iter().map(|row| row.iter().map(|w| -w).collect()).collect();
                    let minus = shares(&negated, a, p);
                    sent.data.iter_mut().zip(&minus.data).for_each(|(s, m)| *s -= m);
                }
                vec![(first, sent)]
            }
            Op::AveragePool { .. }
            | Op::GlobalAveragePool
            | Op::Resize(Resize { mode: ResizeMode::Linear, .. })
            | Op::Reduce { kind: ReduceKind::Mean | ReduceKind::Sum, .. } => vec![(0, shares(&w(0), a, p))],
            Op::MaxPool(_) | Op::GlobalMaxPool => vec![(0, winners(node, a, p))],
            Op::Binary(BinaryFn::Add) if live.len() == 2 => {
                let parts = [0, 1].map(|i| operands[i].as_ref().unwrap().map(|v| v.max(0.0)));
                let share = |i: usize| {
                    Array::from_fn(&p.shape, |at| {
                        let total: f64 = parts.iter().map(|part| part.broadcast_at(at)).sum();
                        if total > 0.0 { p.at(at) * parts[i].broadcast_at(at) / total } else { 0.0 }
                    })
                };
                vec![(0, share(0)), (1, share(1))]
            }
            Op::Unary(UnaryFn::Relu | UnaryFn::Clip { .. }) => {
                let low = if let Op::Unary(UnaryFn::Clip { min, .. }) = node.op { min.into() } else { 0.0 };
                let y = &self.values[&y];
                vec![(0, Array::from_fn(&p.shape, |i| if y.at(i) > low { p.at(i) } else { 0.0 }))]
            }
            Op::BatchNorm { .. } | Op::Lrn(_) | Op::Binary(BinaryFn::Add) => vec![(first, p.clone())],
            _ => live.iter().map(|&i| (i, copied(&w(i), operands[i].as_ref().unwrap(), p))).collect(),
        }
    }
}
