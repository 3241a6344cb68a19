//! One node of the file: its operands as the forms of operators ask for them.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::attributes::Attributes;
use super::limits::Spent;
use super::size;
use crate::error::Error;
use crate::graph::{Build, Graph, Value, ValueId};
use crate::infer::infer;
use crate::onnx::proto::NodeProto;
use crate::op::Op;
use crate::shape::{Dim, Int, Shape};
use crate::tensor::{DType, Tensor};

/// Why a node does not become an [`Op`] of its own.
pub(super) enum Refusal {
    /// The operator is not known at all.
    Unknown,
    /// The operator is known; this form of it is not modelled, for that reason.
    NotModelled(String),
    /// The node contradicts itself or the operator's definition.
    Malformed(String),
    /// Something else went wrong.
    Error(Error),
}

impl From<String> for Refusal {
    fn from(what: String) -> Refusal {
        Refusal::Malformed(what)
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Refusal {
        Refusal::Error(error)
    }
}

pub(super) type Told<T> = std::result::Result<T, Refusal>;

/// What a node becomes.
pub(super) enum Form {
    /// One op, which makes the node's results out of these operands.
    Op(Op, Vec<Option<ValueId>>),
    /// A constant.
    Constant(Tensor),
    /// The node as it is, on all of its operands, with what it means and how many elements that holds in constants.
    Composite(Box<Graph>, usize),
}

/// A refusal of a form that is not modelled.
pub(super) fn not_modelled<T>(reason: impl Into<String>) -> Told<T> {
    Err(Refusal::NotModelled(reason.into()))
}

/// A refusal of a node that breaks its operator's rules.
pub(super) fn malformed<T>(what: impl Into<String>) -> Told<T> {
    Err(Refusal::Malformed(what.into()))
}

/// A node in words, for messages.
pub(super) fn place(node: &NodeProto) -> String {
    match (node.name.as_str(), node.output.iter().find(|o| !o.is_empty())) {
        ("", Some(output)) => format!("the {} node that makes {output:?}", node.op_type),
        ("", None) => format!("a {} node", node.op_type),
        (name, _) => format!("node {name:?} ({})", node.op_type),
    }
}

/// What the form of an operator may look at.
pub(super) struct Cx<'a> {
    pub build: &'a mut Build,
    pub attributes: Attributes<'a>,
    pub inputs: Vec<Option<ValueId>>,
    /// How many results the node lists.
    pub outputs: usize,
    /// How many of them there are up to the last that is used.
    pub used: usize,
    pub opset: i64,
    pub files: &'a BTreeMap<String, Bytes>,
    pub spent: &'a mut Spent,
}

impl Cx<'_> {
    /// The op on all of the node's operands.
    pub fn plain(&self, op: Op) -> Told<Form> {
        Ok(Form::Op(op, self.inputs.clone()))
    }

    /// What a form makes of other operands than the node's own.
    pub fn of(
        &mut self,
        operands: Vec<Option<ValueId>>,
        form: impl FnOnce(&mut Self) -> Told<Form>,
    ) -> Told<Form> {
        let own = std::mem::replace(&mut self.inputs, operands);
        let made = form(self);
        self.inputs = own;
        made
    }

    /// The op on the first operand alone; the others were attributes in disguise.
    pub fn on_first(&self, op: Op) -> Told<Form> {
        Ok(Form::Op(op, vec![Some(self.operand(0)?)]))
    }

    /// Adds a node before the one that makes the results.
    pub fn emit(&mut self, op: Op, inputs: &[ValueId]) -> Told<ValueId> {
        self.emit_some(op, &inputs.iter().copied().map(Some).collect::<Vec<_>>())
    }

    /// As [`Cx::emit`], for an op that may lack operands.
    pub fn emit_some(&mut self, op: Op, operands: &[Option<ValueId>]) -> Told<ValueId> {
        if let Some(reason) = beyond_batch(self.build.graph(), &op, operands) {
            return not_modelled(reason);
        }
        let id = self.build.nodes(op, operands)?[0];
        self.spent.check(self.build.graph(), id)?;
        Ok(id)
    }

    /// The operand at `index`, if it is given.
    pub fn input(&self, index: usize) -> Option<ValueId> {
        self.inputs.get(index).copied().flatten()
    }

    /// The operand at `index`, which must be given.
    pub fn operand(&self, index: usize) -> Told<ValueId> {
        self.input(index).ok_or_else(|| Refusal::Malformed(format!("operand {index} is missing")))
    }

    pub fn shape(&self, index: usize) -> Told<Shape> {
        match &self.build.graph().value(self.operand(index)?).shape {
            Some(shape) => Ok(shape.clone()),
            None => not_modelled(format!("the shape of operand {index} is not known")),
        }
    }

    pub fn rank(&self, index: usize) -> Told<usize> {
        Ok(self.shape(index)?.rank())
    }

    pub fn dtype(&self, index: usize) -> Told<Option<DType>> {
        Ok(self.build.graph().value(self.operand(index)?).dtype)
    }

    /// The integers of an operand that must be known while reading; none where it is left out.
    pub fn known(&self, index: usize, what: &str) -> Told<Option<Vec<Int>>> {
        let Some(id) = self.input(index) else { return Ok(None) };
        match &self.build.graph().value(id).ints {
            Some(ints) => Ok(Some(ints.clone())),
            None => not_modelled(format!("its {what} is computed from data")),
        }
    }

    /// As [`Cx::known`], for operands that cannot depend on the batch size.
    pub fn numbers(&self, index: usize, what: &str) -> Told<Option<Vec<i64>>> {
        let Some(ints) = self.known(index, what)? else { return Ok(None) };
        match ints.into_iter().map(Int::lit).collect() {
            Some(numbers) => Ok(Some(numbers)),
            None => not_modelled(format!("its {what} depends on the batch size")),
        }
    }

    /// Integers that are an attribute before `since`, an operand from then on.
    pub fn listed(&self, attribute: &str, index: usize, since: i64) -> Told<Option<Vec<i64>>> {
        if self.opset >= since {
            return self.numbers(index, attribute);
        }
        Ok(self.attributes.ints(attribute)?.map(<[i64]>::to_vec))
    }

    /// The constant that an operand is, seen through a few casts and copies.
    fn constant(&self, index: usize) -> Option<&Tensor> {
        let mut id = self.input(index)?;
        let graph = self.build.graph();
        for _ in 0..8 {
            let value = graph.value(id);
            if value.constant.is_some() {
                return value.constant.as_ref();
            }
            let node = graph.node(value.producer?);
            match node.op {
                Op::Cast(to) if to.is_float() => {}
                Op::Identity => {}
                _ => return None,
            }
            id = node.inputs.first().copied().flatten()?;
        }
        None
    }

    /// The numbers that an operand holds, where they are known while reading.
    pub fn reals(&self, index: usize) -> Option<Vec<f64>> {
        let known = self.build.graph().value(self.input(index)?).reals.clone();
        known.or_else(|| self.constant(index).map(Tensor::to_f64s))
    }

    /// The number that an operand with one constant element is.
    pub fn scalar(&self, index: usize, what: &str) -> Told<Option<f64>> {
        if self.input(index).is_none() {
            return Ok(None);
        }
        match self.reals(index).as_deref() {
            Some(&[number]) => Ok(Some(number)),
            Some(_) => malformed(format!("its {what} is not one number")),
            None => not_modelled(format!("its {what} is computed from data")),
        }
    }

    /// As [`Cx::scalar`], for a parameter that has the type of the first operand and is a float32.
    pub fn like_first(&self, index: usize, what: &str) -> Told<Option<f32>> {
        let Some(value) = self.scalar(index, what)? else { return Ok(None) };
        match (self.dtype(0)?, self.dtype(index)?) {
            (Some(a), Some(b)) if a == b => {}
            (Some(a), Some(b)) => return malformed(format!("its {what} is {b}, but its operand {a}")),
            _ => return not_modelled("the type of its operand is not known"),
        }
        let rounded = value as f32;
        match f64::from(rounded) == value || value.is_nan() {
            true => Ok(Some(rounded)),
            false => not_modelled(format!("its {what} is not a float32")),
        }
    }

    /// A number attribute, rounded to the type of the first operand.
    pub fn rounded(&self, attribute: &str) -> Told<Option<f32>> {
        let Some(value) = self.attributes.float(attribute)? else { return Ok(None) };
        match self.dtype(0)? {
            Some(dtype) if dtype.is_float() => {
                Ok(Tensor::floats(dtype, &[], &[value])?.to_f32s().first().copied())
            }
            Some(dtype) => malformed(format!("it has a number for {dtype}")),
            None => not_modelled("the type of its operand is not known"),
        }
    }

    /// An axis counted from the front; negative ones are counted from behind.
    pub fn axis(&self, axis: i64, rank: usize) -> Told<usize> {
        let from_front = if axis < 0 { axis.saturating_add_unsigned(rank as u64) } else { axis };
        match usize::try_from(from_front) {
            Ok(a) if a < rank => Ok(a),
            _ => malformed(format!("axis {axis} is outside rank {rank}")),
        }
    }

    /// The axis that the attribute names, counted in the first operand.
    pub fn axis_attribute(&self, default: Option<i64>) -> Told<usize> {
        match self.attributes.int("axis")?.or(default) {
            Some(axis) => self.axis(axis, self.rank(0)?),
            None => malformed("attribute \"axis\" is missing"),
        }
    }

    /// Several axes, ascending, each once.
    pub fn axes(&self, axes: &[i64], rank: usize) -> Told<Vec<usize>> {
        let mut axes = axes.iter().map(|&a| self.axis(a, rank)).collect::<Told<Vec<usize>>>()?;
        axes.sort_unstable();
        match axes.windows(2).any(|pair| pair[0] == pair[1]) {
            true => malformed("an axis is named twice"),
            false => Ok(axes),
        }
    }
}

/// A size out of a file.
pub(super) fn sized(n: i64, what: &str) -> Told<usize> {
    size(n).ok_or_else(|| Refusal::Malformed(format!("{what} is {n}")))
}

/// A dimension out of a file.
pub(super) fn dim(n: Int) -> Told<Dim> {
    match (n, Dim::try_from(n)) {
        (Int::Lit(n), _) => sized(n, "a dimension").map(Dim::Fixed),
        (_, Ok(dim)) => Ok(dim),
        (_, Err(())) => malformed("a dimension is negative"),
    }
}

/// Why an op that is sound for one image cannot be said for a batch of `N`, where that is so: a reshape with the batch
/// size written into it, a slice of the batch.
pub(super) fn beyond_batch(graph: &Graph, op: &Op, inputs: &[Option<ValueId>]) -> Option<String> {
    let operands: Vec<Option<&Value>> = inputs.iter().map(|id| id.map(|id| graph.value(id))).collect();
    let is_batch = |v: &&Value| v.shape.as_ref().is_some_and(|s| s.to_fixed().is_none());
    let own = match op {
        Op::Reshape { to } | Op::Expand { to } => to.to_fixed().is_none(),
        _ => false,
    };
    if !own && !operands.iter().flatten().any(is_batch) {
        return None;
    }
    let reason = infer(op, &operands).err()?;
    let one = |shape: &Shape| Shape::fixed(&shape.at(1));
    let op = match op {
        Op::Reshape { to } => Op::Reshape { to: one(to) },
        Op::Expand { to } => Op::Expand { to: one(to) },
        other => other.clone(),
    };
    let single: Vec<Option<Value>> =
        operands.iter().map(|v| v.map(|v| Value { shape: v.shape.as_ref().map(one), ..v.clone() })).collect();
    let single: Vec<Option<&Value>> = single.iter().map(Option::as_ref).collect();
    infer(&op, &single).is_ok().then_some(reason)
}
