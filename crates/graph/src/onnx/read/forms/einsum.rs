//! Einstein sums, as reductions, transpositions and matrix products.

use std::collections::BTreeMap;

use crate::emit::Emit;
use crate::graph::ValueId;
use crate::onnx::read::body::Body;
use crate::onnx::read::node::{Cx, Form, Told, malformed, not_modelled};
use crate::op::{CompareFn, Op};
use crate::shape::Dim;

/// An operand on its way: its axes by letter.
struct Term {
    id: ValueId,
    letters: Vec<char>,
}

pub(super) fn einsum(cx: &mut Cx) -> Told<Form> {
    let Some(equation) = cx.attributes.string("equation")? else {
        return malformed("attribute \"equation\" is missing");
    };
    let equation: String = equation.chars().filter(|c| !c.is_whitespace()).collect();
    let mut b = Body::new(cx)?;
    let all = b.all()?;
    let (left, right) = match equation.split_once("->") {
        Some((left, right)) => (left, Some(right)),
        None => (equation.as_str(), None),
    };
    let texts: Vec<&str> = left.split(',').collect();
    if texts.len() != all.len() {
        return malformed(format!("equation {equation:?} is not for {} operands", all.len()));
    }
    let mut terms = Vec::new();
    let mut widest = 0;
    for (&text, &id) in texts.iter().zip(&all) {
        let rank = b.dims(id)?.len();
        let letters = spelled(text, Some(rank))?;
        widest = widest.max(letters.iter().filter(|c| c.is_ascii_digit()).count());
        terms.push(Term { id, letters });
    }
    let result = match right {
        Some(right) => spelled(right, None)?
            .into_iter()
            .flat_map(|c| if c == '.' { ellipsis(widest) } else { vec![c] })
            .collect(),
        None => implied(&terms, widest),
    };
    if result.iter().enumerate().any(|(i, c)| result[..i].contains(c)) {
        return malformed(format!("equation {equation:?} names an axis of the result twice"));
    }
    let mut sizes: BTreeMap<char, Dim> = BTreeMap::new();
    for term in &terms {
        for (&c, d) in term.letters.iter().zip(b.dims(term.id)?) {
            let size = sizes.entry(c).or_insert(d);
            match size.broadcast(d) {
                Some(both) => *size = both,
                None => return malformed(format!("axis {c:?} is both {size} and {d}")),
            }
        }
    }
    if let Some(c) = result.iter().find(|c| !sizes.contains_key(c)) {
        return malformed(format!("axis {c:?} of the result is in no operand"));
    }
    let mut terms: Vec<Term> = terms.into_iter().map(|t| diagonal(&mut b, t)).collect::<Told<Vec<_>>>()?;
    terms.reverse();
    let Some(mut sum) = terms.pop() else { return malformed("it has no operands") };
    while let Some(next) = terms.pop() {
        // What neither a later operand nor the result has is summed now.
        let kept = |c: &char| result.contains(c) || terms.iter().any(|t| t.letters.contains(c));
        sum = product(&mut b, sum, next, &kept, &sizes)?;
    }
    let sum = reduced(&mut b, sum, &|c| result.contains(c))?;
    let missing: Vec<char> = result.iter().copied().filter(|c| !sum.letters.contains(c)).collect();
    if !missing.is_empty() {
        return not_modelled("an axis of the result is in no operand");
    }
    let y = ordered(&mut b, &sum, &result)?;
    b.done(&[y])
}

/// The letters of a term; the axes of an ellipsis, of which there are as many as `rank` leaves, are called by digits
/// from behind. Where the rank is open, the ellipsis stays a dot.
fn spelled(text: &str, rank: Option<usize>) -> Told<Vec<char>> {
    let parts: Vec<&str> = text.split("...").collect();
    let letters: Vec<char> = parts.concat().chars().collect();
    if parts.len() > 2 || letters.iter().any(|c| !c.is_ascii_alphabetic()) {
        return malformed(format!("{text:?} names no axes"));
    }
    let dots = match rank {
        Some(rank) => match rank.checked_sub(letters.len()) {
            Some(rest) if parts.len() == 2 && rest <= 10 => ellipsis(rest),
            Some(0) => Vec::new(),
            _ => return malformed(format!("{text:?} does not name {rank} axes")),
        },
        None if parts.len() == 2 => vec!['.'],
        None => Vec::new(),
    };
    let front = parts[0].chars();
    Ok(front.chain(dots).chain(parts[1..].iter().flat_map(|p| p.chars())).collect())
}

/// The names of `count` axes that an ellipsis stands for.
fn ellipsis(count: usize) -> Vec<char> {
    ('0'..='9').take(count).collect::<Vec<_>>().into_iter().rev().collect()
}

/// The result of an equation that does not state it: the ellipsis, then the letters that occur once, in order.
fn implied(terms: &[Term], widest: usize) -> Vec<char> {
    let all: Vec<char> = terms.iter().flat_map(|t| t.letters.iter().copied()).collect();
    let mut once: Vec<char> = all
        .iter()
        .copied()
        .filter(|c| c.is_ascii_alphabetic() && all.iter().filter(|d| *d == c).count() == 1)
        .collect();
    once.sort_unstable();
    ellipsis(widest).into_iter().chain(once).collect()
}

/// A term whose letters are all different: of repeated ones, the diagonal.
fn diagonal(b: &mut Body, mut term: Term) -> Told<Term> {
    while let Some((i, j)) = repeated(&term.letters) {
        let (n, m) = (b.size(term.id, i)?, b.size(term.id, j)?);
        if n != m {
            return malformed(format!("axis {:?} is both {n} and {m}", term.letters[i]));
        }
        let (rows, columns) = (b.coordinates(term.id, i, 0)?, b.coordinates(term.id, j, 0)?);
        let on = b.emit(Op::Compare(CompareFn::Equal), &[rows, columns])?;
        let kept = b.keep_where(on, term.id)?;
        term.id = b.sum(kept, &[j], false)?;
        term.letters.remove(j);
    }
    Ok(term)
}

fn repeated(letters: &[char]) -> Option<(usize, usize)> {
    (0..letters.len()).find_map(|j| Some((letters[..j].iter().position(|c| *c == letters[j])?, j)))
}

/// The sum over the letters that are not kept.
fn reduced(b: &mut Body, term: Term, kept: &dyn Fn(&char) -> bool) -> Told<Term> {
    let axes: Vec<usize> = (0..term.letters.len()).filter(|&i| !kept(&term.letters[i])).collect();
    if axes.is_empty() {
        return Ok(term);
    }
    let id = b.sum(term.id, &axes, false)?;
    Ok(Term { id, letters: term.letters.into_iter().filter(kept).collect() })
}

/// The axes in this order.
fn ordered(b: &mut Body, term: &Term, letters: &[char]) -> Told<ValueId> {
    let place = |c| term.letters.iter().position(|d| d == c).unwrap_or(0);
    let perm: Vec<usize> = letters.iter().map(place).collect();
    Ok(b.transpose(term.id, &perm)?)
}

/// Two terms multiplied, and summed over what is not kept: one product of matrices `[batch…, left, inner]` and
/// `[batch…, inner, right]`.
fn product(
    b: &mut Body,
    x: Term,
    y: Term,
    kept: &dyn Fn(&char) -> bool,
    sizes: &BTreeMap<char, Dim>,
) -> Told<Term> {
    let (has_x, has_y) = (x.letters.clone(), y.letters.clone());
    let x = reduced(b, x, &|c| kept(c) || has_y.contains(c))?;
    let y = reduced(b, y, &|c| kept(c) || has_x.contains(c))?;
    let only = |a: &[char], b: &[char]| a.iter().copied().filter(|c| !b.contains(c)).collect::<Vec<_>>();
    let (left, right) = (only(&x.letters, &y.letters), only(&y.letters, &x.letters));
    let (batch, inner): (Vec<char>, Vec<char>) =
        x.letters.iter().copied().filter(|c| y.letters.contains(c)).partition(|c| kept(c));
    let (mut matrices, mut outer) = (Vec::new(), Vec::new());
    for (i, (term, order)) in
        [(&x, [&batch, &left, &inner]), (&y, [&batch, &inner, &right])].into_iter().enumerate()
    {
        let letters: Vec<char> = order.iter().flat_map(|l| l.iter().copied()).collect();
        let mut id = ordered(b, term, &letters)?;
        // An axis of size 1 that the other term has longer is repeated where it is summed.
        if !inner.is_empty() {
            let mut to = b.dims(id)?;
            for (d, c) in to.iter_mut().zip(&letters) {
                if inner.contains(c) {
                    *d = sizes[c];
                }
            }
            id = b.expand(id, &crate::shape::Shape(to))?;
        }
        let own = b.dims(id)?;
        let (head, tail) = own.split_at(batch.len());
        let middle = order[1].len();
        outer.extend_from_slice(if i == 0 { &tail[..middle] } else { &tail[middle..] });
        let dims = [head, &[b.product(&tail[..middle])?, b.product(&tail[middle..])?]].concat();
        matrices.push(b.shaped(id, &dims)?);
    }
    let product = b.matmul(matrices[0], matrices[1])?;
    let common: Vec<Dim> = b.dims(product)?[..batch.len()].to_vec();
    let id = b.shaped(product, &[common, outer].concat())?;
    Ok(Term { id, letters: [batch, left, right].concat() })
}
