//! Several layers at once: those of a sweep, and those of a pattern.

use super::automatic::{Between, is_copy, is_learned};
use super::live::Live;
use super::{Grids, Score};
use crate::diff;
use crate::error::{Error, Result};
use crate::graph::{Graph, Node, ValueId};
use crate::op::Op;

/// The layers of a sweep, from the image to the score: every value that meets what is asked of the
/// [automatic layer](super::automatic) but for being the nearest, lies behind weights, and is not merely on its way into an
/// activation or normalisation, which then stands for it.
///
/// These are the rectified convolutions of AlexNet and VGG, the stem and the blocks of a ResNet, the joins of GoogLeNet and
/// SqueezeNet, the transitions of DenseNet, and the sums of a transformer.
pub fn sweep(graph: &Graph, image: ValueId, score: &Score) -> Vec<ValueId> {
    let between = Between::new(graph, image, score.value);
    let grids = Grids::new(graph, image);
    let live = Live::new(graph, &grids.trace, &between.nodes, score.value);
    let learned = |&id: &_| is_learned(graph, graph.node(id));
    let first = between.nodes.iter().position(learned).unwrap_or(between.nodes.len());
    let last = between.nodes.iter().rposition(learned).unwrap_or(0);
    let mut found: Vec<ValueId> = Vec::new();
    // Whether all since the last layer found was done cell by cell, so that what comes next stands for it.
    let mut goes_on = false;
    for &id in between.nodes.iter().take(last).skip(first) {
        let node = graph.node(id);
        goes_on &= is_cell_wise(graph, node);
        for &value in node.outputs.iter().flatten() {
            let fits = !is_copy(&node.op) && !matches!(node.op, Op::Lrn(_)) && live.has_all_cells(value);
            if !fits || !between.is_passed(graph, &live, value, |_| true) || grids.layer(value).is_none() {
                continue;
            }
            if goes_on {
                found.pop();
            }
            found.push(value);
            goes_on = true;
        }
    }
    found
}

/// The layers that a pattern stands for, from the image to the score. Its parts are divided by `.` or `/`, and `*` stands
/// for any part or the rest of one: `layer4.*` are the blocks of `layer4`, `layer*` its stages, `features.*` all of
/// `features`. Of every module that fits, or of values named so where modules are not told, it is the last layer; those that
/// only go on into an activation, or are pooled, resized or rearranged copies, are left out.
///
/// # Errors
/// When nothing fits.
pub fn matching(graph: &Graph, image: ValueId, score: &Score, pattern: &str) -> Result<Vec<ValueId>> {
    let between = Between::new(graph, image, score.value);
    let grids = Grids::new(graph, image);
    let wanted = parts(pattern);
    let mut found: Vec<(Vec<&str>, ValueId)> = Vec::new();
    for &id in &between.nodes {
        let node = graph.node(id);
        let Some(value) = node.outputs.iter().flatten().next().copied() else { continue };
        let path = parts(node.module.as_deref().unwrap_or(&graph.value(value).name));
        let fits = path.len() >= wanted.len() && wanted.iter().zip(&path).all(|(w, p)| is_like(w, p));
        if !fits || is_copy(&node.op) || grids.layer(value).is_none() {
            continue;
        }
        let of = path[..wanted.len()].to_vec();
        found.retain(|(module, _)| *module != of);
        found.push((of, value));
    }
    let goes_on = |value: ValueId| {
        let takes = |id: &&_| graph.node(**id).inputs.contains(&Some(value));
        let mut users = between.nodes.iter().filter(takes);
        match (users.next(), users.next()) {
            (Some(&user), None) => {
                graph.node(user).inputs.len() == 1 && is_cell_wise(graph, graph.node(user))
            }
            _ => false,
        }
    };
    let layers: Vec<ValueId> = found.iter().map(|(_, value)| *value).filter(|&v| !goes_on(v)).collect();
    // A pattern may mean the very values that go on into activations.
    let layers = if layers.is_empty() { found.into_iter().map(|(_, value)| value).collect() } else { layers };
    match layers.is_empty() {
        false => Ok(layers),
        true => Err(Error::Name {
            what: format!("no layer is like {pattern:?}"),
            hint:
                "`*` stands for one part of a name, as in layer4.* or block*; `whycam inspect` lists layers"
                    .into(),
        }),
    }
}

/// Whether each cell of the result comes from the same cell of the operands, and nothing is learned but scales and shifts.
fn is_cell_wise(graph: &Graph, node: &Node) -> bool {
    let simple = matches!(
        node.op,
        Op::Unary(_)
            | Op::Binary(_)
            | Op::Compare(_)
            | Op::Where
            | Op::PRelu
            | Op::Cast(_)
            | Op::Identity
            | Op::Dropout
            | Op::BatchNorm { .. }
            | Op::QuantizeLinear { .. }
            | Op::DequantizeLinear { .. }
    );
    simple || diff::is_smooth(graph, node)
}

/// The parts of a path.
fn parts(path: &str) -> Vec<&str> {
    path.split(['.', '/']).filter(|part| !part.is_empty()).collect()
}

/// Whether the part of a name is what the pattern says, where `*` stands for any characters.
fn is_like(pattern: &str, part: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == part };
    let Some(mut left) = part.strip_prefix(start) else { return false };
    let mut pieces: Vec<&str> = rest.split('*').collect();
    let end = pieces.pop().unwrap_or_default();
    for piece in pieces {
        match left.find(piece) {
            Some(at) => left = &left[at + piece.len()..],
            None => return false,
        }
    }
    left.ends_with(end)
}

#[cfg(test)]
mod tests {
    use super::is_like;

    #[test]
    fn stars_stand_for_any_characters() {
        for (pattern, part) in [
            ("*", "0"),
            ("layer*", "layer4"),
            ("layer*", "layer"),
            ("a*c*", "abcd"),
            ("*b*", "abc"),
            ("x", "x"),
        ] {
            assert!(is_like(pattern, part), "{pattern} {part}");
        }
        for (pattern, part) in
            [("layer*", "lay"), ("*4", "layer3"), ("ab*ba", "aba"), ("a*b*c", "acb"), ("x", "xy")]
        {
            assert!(!is_like(pattern, part), "{pattern} {part}");
        }
    }
}
