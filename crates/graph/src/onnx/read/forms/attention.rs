//! Attention.

use crate::emit::Emit;
use crate::graph::ValueId;
use crate::onnx::dtype;
use crate::onnx::read::body::Body;
use crate::onnx::read::node::{Cx, Form, Told, malformed, not_modelled, sized};
use crate::op::{BinaryFn, CompareFn, Op, PadMode, Range, ReduceKind, UnaryFn};
use crate::shape::{Dim, Shape};
use crate::tensor::{DType, Tensor};

/// Which keys a query may look at, besides what a mask tells.
struct Reach {
    causal: bool,
    /// How many keys before and behind its own; negative: all.
    window: [i64; 2],
}

impl Reach {
    fn limits(&self) -> bool {
        self.causal || self.window.iter().any(|&w| w >= 0)
    }

    /// By how far the key is before the query.
    fn allows(&self, before: i64) -> bool {
        let [left, right] = self.window;
        (!self.causal || before >= 0) && (left < 0 || before <= left) && (right < 0 || -before <= right)
    }
}

/// `(q, k, v, mask?, past k?, past v?, lengths? [N]) -> (softmax(cap(scale · q·kᵀ) + mask) · v, k, v, q·kᵀ)` on
/// `[N,heads,L,E]`, or on `[N,L,heads·E]`; a query without any key gets 0. Keys and values may have fewer heads, each for
/// several of the queries'.
pub(super) fn attention(cx: &mut Cx) -> Told<Form> {
    let a = &cx.attributes;
    let reach = Reach {
        causal: a.flag("is_causal")?.unwrap_or(false),
        window: [a.int("left_window_size")?.unwrap_or(-1), a.int("right_window_size")?.unwrap_or(-1)],
    };
    let told = [a.int("q_num_heads")?, a.int("kv_num_heads")?];
    let (scale, cap) = (a.float("scale")?, a.float("softcap")?.filter(|&c| c > 0.0));
    let shown = a.int("qk_matmul_output_mode")?.unwrap_or(0);
    let precision = match a.int("softmax_precision")? {
        None | Some(0) => None,
        Some(number) => match i32::try_from(number).ok().and_then(dtype::from_number) {
            Some(precision) if precision.is_float() => Some(precision),
            _ => return not_modelled("its softmax is computed in a type that whycam does not know"),
        },
    };
    let mut b = Body::new(cx)?;
    let [q, mut k, mut v] = [b.operand(0)?, b.operand(1)?, b.operand(2)?];
    let flat = b.dims(q)?.len() == 3;
    let q = heads(&mut b, q, told[0])?;
    k = heads(&mut b, k, told[1])?;
    v = heads(&mut b, v, told[1])?;
    let mut past = 0;
    if let (Some(keys), Some(values)) = (b.optional(4), b.optional(5)) {
        past = b.size(keys, 2)? as i64;
        k = b.emit(Op::Concat { axis: 2 }, &[keys, k])?;
        v = b.emit(Op::Concat { axis: 2 }, &[values, v])?;
    }
    let present = [k, v];
    let (count, shared) = (b.size(q, 1)?, b.size(k, 1)?);
    if shared == 0 || count % shared != 0 {
        return malformed(format!("{count} heads do not share {shared}"));
    }
    k = repeated(&mut b, k, count / shared)?;
    v = repeated(&mut b, v, count / shared)?;
    // Each side takes its root of the scale.
    let scale = scale.unwrap_or(1.0 / (b.size(q, 3)?.max(1) as f32).sqrt()).sqrt();
    let across = b.transpose_last(k)?;
    let (left, right) = (b.scale(q, scale)?, b.scale(across, scale)?);
    let product = b.matmul(left, right)?;
    let capped = match cap {
        Some(cap) => {
            let inner = b.scale(product, 1.0 / cap)?;
            let inner = b.unary(UnaryFn::Tanh, inner)?;
            b.scale(inner, cap)?
        }
        None => product,
    };
    let (bias, nobody) = bias(&mut b, q, k, &reach, past)?;
    let biased = match bias {
        Some(bias) => b.add(capped, bias)?,
        None => capped,
    };
    let own = b.dtype(biased);
    let wide = b.cast(biased, precision.unwrap_or(own))?;
    let mut share = b.emit(Op::Softmax { axis: 3 }, &[wide])?;
    if let Some(nobody) = nobody {
        let zero = b.scalar(share, 0.0)?;
        share = b.emit(Op::Where, &[nobody, zero, share])?;
    }
    let share = b.cast(share, own)?;
    let mut y = b.matmul(share, v)?;
    if flat {
        let dims = b.dims(y)?;
        y = b.transpose(y, &[0, 2, 1, 3])?;
        let all = b.product(&[dims[1], dims[3]])?;
        y = b.shaped(y, &[dims[0], dims[2], all])?;
    }
    let scores = match shown {
        0 | 1 => capped,
        2 => biased,
        3 => share,
        other => return malformed(format!("qk_matmul_output_mode is {other}")),
    };
    b.done(&[y, present[0], present[1], scores])
}

/// `[N,heads,L,E]`
fn heads(b: &mut Body, x: ValueId, told: Option<i64>) -> Told<ValueId> {
    match (b.dims(x)?[..].to_vec().as_slice(), told) {
        ([_, _, _, _], _) => Ok(x),
        (&[n, l, _], Some(count)) => {
            let (count, width) = (sized(count, "a number of heads")?, b.size(x, 2)?);
            if count == 0 || width % count != 0 {
                return malformed(format!("{width} features do not make {count} heads"));
            }
            let split = b.shaped(x, &[n, l, Dim::Fixed(count), Dim::Fixed(width / count)])?;
            Ok(b.transpose(split, &[0, 2, 1, 3])?)
        }
        _ => malformed("its operands have neither heads nor a number of them"),
    }
}

/// Each head `times` in a row.
fn repeated(b: &mut Body, x: ValueId, times: usize) -> Told<ValueId> {
    if times == 1 {
        return Ok(x);
    }
    let [n, heads, l, e] = b.dims(x)?[..] else { return malformed("an operand has no heads") };
    let split = b.shaped(x, &[n, heads, Dim::Fixed(1), l, e])?;
    let wide = b.expand(split, &Shape(vec![n, heads, Dim::Fixed(times), l, e]))?;
    let all = b.product(&[heads, Dim::Fixed(times)])?;
    Ok(b.shaped(wide, &[n, all, l, e])?)
}

/// What is added to the scores, 0 or −∞ where nothing else is told; and the queries that no key is left to, whose scores
/// are left alone.
fn bias(
    b: &mut Body,
    q: ValueId,
    k: ValueId,
    reach: &Reach,
    past: i64,
) -> Told<(Option<ValueId>, Option<ValueId>)> {
    let (queries, keys) = (b.size(q, 2)?, b.size(k, 2)?);
    let (zero, never) = (b.scalar(q, 0.0)?, b.scalar(q, f32::NEG_INFINITY)?);
    let mut bias = None;
    if let Some(mask) = b.optional(3) {
        let mut told = match b.dtype(mask) {
            DType::Bool => b.emit(Op::Where, &[mask, zero, never])?,
            _ => mask,
        };
        let rank = b.dims(told)?.len();
        if rank == 0 {
            return malformed("its mask is one number");
        }
        let missing = keys as i64 - b.size(told, rank - 1)? as i64;
        if missing > 0 {
            let mut after = vec![0; rank];
            after[rank - 1] = missing;
            let (mode, before) = (PadMode::Constant, vec![0; rank]);
            told = b.emit(Op::Pad { mode, before, after, value: f32::NEG_INFINITY }, &[told])?;
        }
        bias = Some(told);
    }
    let mut allowed = Vec::new();
    match b.optional(6).filter(|_| b.optional(4).is_none()) {
        None if reach.limits() => {
            allowed.push(b.mask(&[queries, keys], |at| {
                reach.allows((at[0] as i64).saturating_add(past) - at[1] as i64)
            })?)
        }
        None => {}
        Some(lengths) => {
            let column = b.emit(Op::Unsqueeze { axes: vec![1, 2, 3] }, &[lengths])?;
            let number = |b: &mut Body, n: i64| Tensor::i64(&[], &[n]).map(|t| b.constant(t));
            let line = b.coordinates(k, 2, 0)?;
            let line = b.shaped(line, &[1, 1, 1, keys].map(Dim::Fixed))?;
            allowed.push(b.emit(Op::Compare(CompareFn::Less), &[line, column])?);
            let rows = b.coordinates(q, 2, 0)?;
            let rows = b.shaped(rows, &[1, 1, queries, 1].map(Dim::Fixed))?;
            let count = number(b, queries as i64)?;
            let offset = b.sub(column, count)?;
            let place = b.add(rows, offset)?;
            let before = b.sub(place, line)?;
            let [left, right] = reach.window;
            let low = if right >= 0 { Some(-right) } else { None };
            let low = if reach.causal { Some(low.unwrap_or(0).max(0)) } else { low };
            if let Some(low) = low {
                let low = number(b, low)?;
                allowed.push(b.emit(Op::Compare(CompareFn::GreaterOrEqual), &[before, low])?);
            }
            if left >= 0 {
                let left = number(b, left)?;
                allowed.push(b.emit(Op::Compare(CompareFn::LessOrEqual), &[before, left])?);
            }
        }
    }
    // A causal query without further limits sees the first key at least.
    let certain = bias.is_none() && reach.window == [-1, -1] && b.optional(6).is_none();
    let mut open: Option<ValueId> = None;
    for next in allowed {
        open = Some(match open {
            Some(before) => b.emit(Op::Binary(BinaryFn::And), &[before, next])?,
            None => next,
        });
    }
    if let Some(open) = open {
        bias = Some(b.emit(Op::Where, &[open, bias.unwrap_or(zero), never])?);
    }
    let Some(told) = bias.filter(|_| !certain) else { return Ok((bias, None)) };
    let rank = b.dims(told)?.len();
    let most = b.emit(Op::Reduce { kind: ReduceKind::Max, axes: vec![rank - 1], keep: true }, &[told])?;
    let nobody = b.emit(Op::Compare(CompareFn::Equal), &[most, never])?;
    let finite = b.emit(Op::Where, &[nobody, zero, told])?;
    Ok((Some(finite), Some(nobody)))
}

/// `(x, cos [positions,E/2], sin, positions? [N,L]) -> y`: the halves of each head's features, or pairs of neighbours,
/// turned by an angle that depends on the position; features behind the first `E` stay.
pub(super) fn rotary(cx: &mut Cx) -> Told<Form> {
    let a = &cx.attributes;
    let interleaved = a.flag("interleaved")?.unwrap_or(false);
    let (told, turned) = (a.int("num_heads")?.filter(|&n| n != 0), a.int("rotary_embedding_dim")?);
    let mut b = Body::new(cx)?;
    let x = b.operand(0)?;
    let dims = b.dims(x)?;
    // [N,heads,L,E]
    let tokens = heads(&mut b, x, told)?;
    let width = b.size(tokens, 3)?;
    let turned = match turned {
        None | Some(0) => width,
        Some(n) => sized(n, "rotary_embedding_dim")?,
    };
    if turned == 0 || turned > width || turned % 2 != 0 {
        return malformed(format!("it turns {turned} of {width} features"));
    }
    let mut tables = Vec::new();
    for index in [1, 2] {
        let mut table = b.operand(index)?;
        if let Some(positions) = b.optional(3) {
            table = b.emit(Op::Gather { axis: 0 }, &[table, positions])?;
        }
        // [N,1,L,E/2]
        tables.push(b.emit(Op::Unsqueeze { axes: vec![1] }, &[table])?);
    }
    let [cos, sin] = tables[..] else { return malformed("its tables are missing") };
    let parts = if turned == width { vec![tokens] } else { b.parts(tokens, 3, &[turned, width - turned])? };
    let halves = if interleaved {
        let every_second = |start| Op::Slice(vec![Range { axis: 3, start, end: turned as i64, step: 2 }]);
        vec![b.emit(every_second(0), &[parts[0]])?, b.emit(every_second(1), &[parts[0]])?]
    } else {
        b.parts(parts[0], 3, &[turned / 2; 2])?
    };
    let (a, c) = (b.mul(cos, halves[0])?, b.mul(sin, halves[1])?);
    let real = b.sub(a, c)?;
    let (a, c) = (b.mul(sin, halves[0])?, b.mul(cos, halves[1])?);
    let imaginary = b.add(a, c)?;
    let mut y = if interleaved {
        let mut pair = Vec::new();
        for part in [real, imaginary] {
            pair.push(b.emit(Op::Unsqueeze { axes: vec![4] }, &[part])?);
        }
        let woven = b.emit(Op::Concat { axis: 4 }, &pair)?;
        let to = b.dims(parts[0])?;
        b.shaped(woven, &to)?
    } else {
        b.emit(Op::Concat { axis: 3 }, &[real, imaginary])?
    };
    if let Some(&rest) = parts.get(1) {
        y = b.emit(Op::Concat { axis: 3 }, &[y, rest])?;
    }
    if dims.len() == 3 {
        y = b.transpose(y, &[0, 2, 1, 3])?;
        y = b.shaped(y, &dims)?;
    }
    b.done(&[y])
}
