//! Rules of pools, and their slow twins.

mod common;

use common::{EXACT, Net, assert_close, cases, prove, separated, signals, window};
use proptest::prelude::*;
use whycam_graph::diff::ReluRule;
use whycam_graph::op::{Op, Window};
use whycam_interp::Array;

/// One spatial axis of a pool: `(size, kernel, stride, dilation, pads)`.
type Axis = (usize, usize, usize, usize, (usize, usize));

/// Tiles (kernel = stride), overlaps and gaps; pads are smaller than the kernel, as ONNX asks.
fn axis() -> impl Strategy<Value = Axis> {
    (1..=6usize, 1..=3usize, 1..=3usize, 1..=2usize, (0..=2usize, 0..=2usize), any::<bool>()).prop_filter_map(
        "no window fits",
        |(size, kernel, stride, dilation, pads, tiles)| {
            let (stride, dilation) = if tiles { (kernel, 1) } else { (stride, dilation) };
            let pads = (pads.0.min(kernel - 1), pads.1.min(kernel - 1));
            let fits = (kernel - 1) * dilation < size + pads.0 + pads.1;
            fits.then_some((size, kernel, stride, dilation, pads))
        },
    )
}

fn windows(axes: &[Axis], ceil_mode: bool) -> Window {
    Window {
        kernel: axes.iter().map(|a| a.1).collect(),
        strides: axes.iter().map(|a| a.2).collect(),
        dilations: axes.iter().map(|a| a.3).collect(),
        pads: axes.iter().map(|a| a.4).collect(),
        ceil_mode,
    }
}

fn shape(axes: &[Axis]) -> Vec<usize> {
    [2, 2].into_iter().chain(axes.iter().map(|a| a.0)).collect()
}

/// Calls `f` with every index.
fn each(shape: &[usize], mut f: impl FnMut(&[usize])) {
    Array::from_fn(shape, |i| {
        f(i);
        0.0
    });
}

/// The cells inside the input that window `at` sees, in scan order, and the number of padding cells it sees.
fn cells(w: &Window, x: &Array, at: &[usize]) -> (Vec<Vec<usize>>, usize) {
    let (mut inside, mut padding) = (Vec::new(), 0);
    each(&w.kernel, |tap| {
        let mut index = at[..2].to_vec();
        let (mut is_inside, mut is_padded) = (true, true);
        for (i, &t) in tap.iter().enumerate() {
            let p = (at[i + 2] * w.strides[i] + t * w.dilations[i]) as i64 - w.pads[i].0 as i64;
            is_inside &= (0..x.shape[i + 2] as i64).contains(&p);
            is_padded &= p < (x.shape[i + 2] + w.pads[i].1) as i64;
            index.push(p.max(0) as usize);
        }
        match is_inside {
            true => inside.push(index),
            false => padding += usize::from(is_padded),
        }
    });
    (inside, padding)
}

fn every_window_has_a_cell(w: &Window, x: &Array) -> bool {
    let mut net = Net::new(0);
    let id = net.input("x", x.clone());
    let y = net.op(Op::MaxPool(w.clone()), &[id]);
    let mut all = true;
    each(&net.shape(y).at(1), |at| all &= !cells(w, x, at).0.is_empty());
    all
}

/// Each window's signal to its first maximum in scan order.
fn max_pool_twin(w: &Window, x: &Array, g: &Array) -> Array {
    let mut sent = Array::zeros(&x.shape);
    each(&g.shape, |at| {
        let (inside, _) = cells(w, x, at);
        let mut winner: Option<&Vec<usize>> = None;
        for cell in &inside {
            if winner.is_none_or(|best| x.at(cell) > x.at(best)) {
                winner = Some(cell);
            }
        }
        if let Some(winner) = winner {
            *sent.at_mut(winner) += g.at(at);
        }
    });
    sent
}

/// Each window's signal in equal shares to its cells.
fn average_pool_twin(w: &Window, count_include_pad: bool, x: &Array, g: &Array) -> Array {
    let mut sent = Array::zeros(&x.shape);
    each(&g.shape, |at| {
        let (inside, padding) = cells(w, x, at);
        let count = inside.len() + if count_include_pad { padding } else { 0 };
        for cell in &inside {
            *sent.at_mut(cell) += g.at(at) / count as f64;
        }
    });
    sent
}

/// The signal of a pool's input for a random cotangent, and that cotangent.
fn sent_by(op: Op, x: &Array) -> (Array, Array) {
    let mut net = Net::new(0);
    let id = net.batch("x", x.clone());
    let y = net.op(op, &[id]);
    let shape = net.shape(y).at(x.shape[0]);
    let (graph, given) = net.finish(y);
    let g = Array::random(&shape, 9);
    (signals(&graph, &given, y, &[id], ReluRule::Gradient, &g).remove(0), g)
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn max_pool(axes in prop::collection::vec(axis(), 1..=2), ceil: bool, batch: bool, seed: u64) {
        let mut net = Net::new(seed);
        let x = separated(&shape(&axes), seed);
        let window = windows(&axes, ceil);
        // The maximum of no cell is −∞.
        prop_assume!(every_window_has_a_cell(&window, &x));
        let x = if batch { net.batch("x", x) } else { net.input("x", x) };
        let y = net.op(Op::MaxPool(window), &[x]);
        prove(net, y);
    }

    #[test]
    fn average_pool(
        axes in prop::collection::vec(axis(), 1..=2),
        ceil: bool,
        count_include_pad: bool,
        seed: u64,
    ) {
        let mut net = Net::new(seed);
        let x = Array::random(&shape(&axes), seed);
        let window = windows(&axes, ceil);
        // The mean of no cell is not a number.
        prop_assume!(count_include_pad || every_window_has_a_cell(&window, &x));
        let x = net.input("x", x);
        let y = net.op(Op::AveragePool { window, count_include_pad }, &[x]);
        prove(net, y);
    }

    /// Few different numbers, so that most windows have ties.
    #[test]
    fn max_pool_with_ties(axes in prop::collection::vec(axis(), 1..=2), ceil: bool, seed: u64) {
        let x = Array::random_integers(&shape(&axes), seed, 0, 2);
        let w = windows(&axes, ceil);
        let (sent, g) = sent_by(Op::MaxPool(w.clone()), &x);
        assert_close(&sent, &max_pool_twin(&w, &x, &g), EXACT, format!("{w:?}"));
    }

    /// What average pools send back does not depend on the numbers, only on the windows.
    #[test]
    fn average_pool_shares(
        axes in prop::collection::vec(axis(), 1..=2),
        ceil: bool,
        count_include_pad: bool,
        seed: u64,
    ) {
        let x = Array::random(&shape(&axes), seed);
        let window = windows(&axes, ceil);
        let (sent, g) = sent_by(Op::AveragePool { window: window.clone(), count_include_pad }, &x);
        let twin = average_pool_twin(&window, count_include_pad, &x, &g);
        assert_close(&sent, &twin, EXACT, format!("{window:?}"));
    }

    #[test]
    fn global_pools(rank in 1..=3usize, is_max: bool, seed: u64) {
        let mut net = Net::new(seed);
        let x = net.batch("x", separated(&[&[2, 3], &[2, 3, 2][..rank]].concat(), seed));
        let y = net.op(if is_max { Op::GlobalMaxPool } else { Op::GlobalAveragePool }, &[x]);
        prove(net, y);
    }
}

/// Spec §2, check 6: a tie sends all of the signal to the first maximum in scan order.
#[test]
fn a_tie_goes_to_exactly_one_cell() {
    let x = Array::new(&[1, 1, 2, 4], vec![5.0, 5.0, 0.0, 0.0, 5.0, 1.0, 0.0, 0.0]);
    let (sent, g) = sent_by(Op::MaxPool(window(2, 2, 0, false)), &x);
    assert_eq!(sent.data, [g.data[0], 0.0, g.data[1], 0.0, 0.0, 0.0, 0.0, 0.0]);
}

#[test]
fn overlapping_windows_accumulate() {
    // The 9 in the middle wins all four windows.
    let x = Array::new(&[1, 1, 3, 3], vec![0.0, 1.0, 2.0, 3.0, 9.0, 4.0, 5.0, 6.0, 7.0]);
    let (sent, g) = sent_by(Op::MaxPool(window(2, 1, 0, false)), &x);
    let mut expected = [0.0; 9];
    expected[4] = g.data.iter().sum();
    // Four numbers may be added in another order.
    assert_close(&sent, &Array::new(&[1, 1, 3, 3], expected.to_vec()), EXACT, "the middle");
}

#[test]
fn max_pool_conserves_the_total_signal() {
    for (kernel, stride, pad, ceil) in [(2, 2, 0, false), (3, 2, 1, false), (3, 2, 0, true), (2, 3, 0, false)]
    {
        for ties in [false, true] {
            let shape = [1, 2, 7, 7];
            let x = if ties { Array::zeros(&shape) } else { Array::random(&shape, 3) };
            let (sent, g) = sent_by(Op::MaxPool(window(kernel, stride, pad, ceil)), &x);
            let (total, given): (f64, f64) = (sent.data.iter().sum(), g.data.iter().sum());
            // Two orders of adding some fifty numbers.
            assert!((total - given).abs() < 1e-12, "{total} of {given}: {kernel} {stride} {pad} {ceil}");
        }
    }
}

#[test]
fn global_max_pool_with_ties_takes_the_first() {
    let x = Array::new(&[1, 2, 2, 2], vec![1.0, 3.0, 3.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    let (sent, g) = sent_by(Op::GlobalMaxPool, &x);
    assert_eq!(sent.data, [0.0, g.data[0], 0.0, 0.0, g.data[1], 0.0, 0.0, 0.0]);
}
