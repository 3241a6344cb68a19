//! The slow twin of the network `Of::Convolutions`: loops in float64.
//!
//! `z₁ = W₁∗x + b₁`, `relu1 = ReLU(z₁)`, `p = maxpool(relu1)`, `z₂ = W₂∗p + b₂`, `layer = ReLU(z₂)`, `y = V·mean(layer) + c`.

use super::numbers;

/// Channels, row by row.
#[derive(Clone)]
pub struct Planes {
    pub shape: [usize; 3],
    pub data: Vec<f64>,
}

impl Planes {
    pub fn new(shape: [usize; 3], data: Vec<f64>) -> Planes {
        assert_eq!(shape.iter().product::<usize>(), data.len());
        Planes { shape, data }
    }

    fn zeros(shape: [usize; 3]) -> Planes {
        Planes::new(shape, vec![0.0; shape.iter().product()])
    }

    pub fn at(&self, k: usize, y: usize, x: usize) -> f64 {
        self.data[(k * self.shape[1] + y) * self.shape[2] + x]
    }

    fn add(&mut self, k: usize, y: usize, x: usize, value: f64) {
        self.data[(k * self.shape[1] + y) * self.shape[2] + x] += value;
    }

    pub fn channels(&self) -> impl Iterator<Item = &[f64]> {
        self.data.chunks(self.shape[1] * self.shape[2])
    }

    pub fn with(&self, other: &Planes, f: impl Fn(f64, f64) -> f64) -> Planes {
        assert_eq!(self.shape, other.shape);
        Planes::new(self.shape, self.data.iter().zip(&other.data).map(|(&a, &b)| f(a, b)).collect())
    }

    pub fn times(&self, other: &Planes) -> Planes {
        self.with(other, |a, b| a * b)
    }

    pub fn map(&self, f: impl Fn(f64) -> f64) -> Planes {
        Planes::new(self.shape, self.data.iter().map(|&v| f(v)).collect())
    }

    /// The sum over channels.
    pub fn sum(&self) -> Planes {
        let [_, h, w] = self.shape;
        let cell = |i: usize| self.channels().map(|channel| channel[i]).sum();
        Planes::new([1, h, w], (0..h * w).map(cell).collect())
    }

    /// Every channel times its number.
    pub fn weighed(&self, weights: &[f64]) -> Planes {
        let channels = self.channels().zip(weights);
        Planes::new(self.shape, channels.flat_map(|(c, w)| c.iter().map(move |v| v * w)).collect())
    }

    pub fn mirrored(&self) -> Planes {
        let rows = self.data.chunks(self.shape[2]);
        Planes::new(self.shape, rows.flat_map(|row| row.iter().rev().copied()).collect())
    }

    /// Enlarged bilinearly by half-pixel centres.
    pub fn enlarged(&self, [height, width]: [usize; 2]) -> Planes {
        let [k, h, w] = self.shape;
        let around = |pixel: usize, from: usize, to: usize| {
            let at = ((pixel as f64 + 0.5) * from as f64 / to as f64 - 0.5).clamp(0.0, (from - 1) as f64);
            (at as usize, (at as usize + 1).min(from - 1), at.fract())
        };
        let mut large = Planes::zeros([k, height, width]);
        for (c, y, x) in cells([k, height, width]) {
            let ((top, bottom, down), (left, right, along)) = (around(y, h, height), around(x, w, width));
            let row = |y| self.at(c, y, left) * (1.0 - along) + self.at(c, y, right) * along;
            large.add(c, y, x, row(top) * (1.0 - down) + row(bottom) * down);
        }
        large
    }
}

pub fn cells([k, h, w]: [usize; 3]) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..k).flat_map(move |c| (0..h).flat_map(move |y| (0..w).map(move |x| (c, y, x))))
}

/// What a ReLU sends back of the signal `g` where its input is `z`.
#[derive(Clone, Copy)]
pub enum Rule {
    Gradient,
    Deconvnet,
    Guided,
}

impl Rule {
    fn passes(self, z: f64, g: f64) -> bool {
        match self {
            Rule::Gradient => z > 0.0,
            Rule::Deconvnet => g > 0.0,
            Rule::Guided => z > 0.0 && g > 0.0,
        }
    }

    fn back(self, z: &Planes, g: &Planes) -> Planes {
        z.with(g, |z, g| if self.passes(z, g) { g } else { 0.0 })
    }
}

/// A 3×3 convolution that keeps the size.
struct Conv {
    from: usize,
    to: usize,
    weights: Vec<f64>,
    bias: Vec<f64>,
}

impl Conv {
    fn new(from: usize, to: usize, seed: usize) -> Conv {
        let numbers = |count, seed| numbers(count, seed).into_iter().map(f64::from).collect();
        Conv { from, to, weights: numbers(to * from * 9, seed), bias: numbers(to, seed + 1) }
    }

    /// Every product: `visit(output, input, weight)`.
    fn each(&self, [_, h, w]: [usize; 3], mut visit: impl FnMut([usize; 3], [usize; 3], f64)) {
        for (o, y, x) in cells([self.to, h, w]) {
            for (i, dy, dx) in cells([self.from, 3, 3]) {
                let (row, column) = ((y + dy).wrapping_sub(1), (x + dx).wrapping_sub(1));
                if row < h && column < w {
                    let weight = self.weights[((o * self.from + i) * 3 + dy) * 3 + dx];
                    visit([o, y, x], [i, row, column], weight);
                }
            }
        }
    }

    fn forward(&self, a: &Planes) -> Planes {
        let [_, h, w] = a.shape;
        let mut z = Planes::zeros([self.to, h, w]);
        cells(z.shape).for_each(|(o, y, x)| z.add(o, y, x, self.bias[o]));
        self.each(a.shape, |[o, y, x], [i, row, column], weight| {
            z.add(o, y, x, weight * a.at(i, row, column));
        });
        z
    }

    fn back(&self, g: &Planes) -> Planes {
        let mut below = Planes::zeros([self.from, g.shape[1], g.shape[2]]);
        self.each(g.shape, |[o, y, x], [i, row, column], w| below.add(i, row, column, w * g.at(o, y, x)));
        below
    }

    /// `P(aⱼ) = aⱼ·Σᵢ w⁺ᵢⱼ·Pᵢ/Σₖ aₖ·w⁺ᵢₖ`.
    fn share(&self, a: &Planes, p: &Planes) -> Planes {
        let mut total = Planes::zeros(p.shape);
        self.each(p.shape, |[o, y, x], [i, row, column], w| {
            total.add(o, y, x, w.max(0.0) * a.at(i, row, column));
        });
        let part = p.with(&total, |p, n| if n > 0.0 { p / n } else { 0.0 });
        let mut below = Planes::zeros(a.shape);
        self.each(p.shape, |[o, y, x], [i, row, column], w| {
            below.add(i, row, column, w.max(0.0) * part.at(o, y, x) * a.at(i, row, column));
        });
        below
    }
}

/// The network and what it makes of an image.
pub struct Twin {
    one: Conv,
    two: Conv,
    head: [Vec<f64>; 2],
}

/// All values of one image.
pub struct Run {
    pub x: Planes,
    z1: Planes,
    relu1: Planes,
    pool: Planes,
    z2: Planes,
    pub layer: Planes,
    pub scores: Vec<f64>,
}

impl Twin {
    pub fn new() -> Twin {
        let numbers = |count, seed| numbers(count, seed).into_iter().map(f64::from).collect();
        Twin { one: Conv::new(3, 5, 1), two: Conv::new(5, 6, 3), head: [numbers(4 * 6, 5), numbers(4, 6)] }
    }

    pub fn run(&self, x: &Planes) -> Run {
        let z1 = self.one.forward(x);
        let relu1 = z1.map(|v| v.max(0.0));
        Run { x: x.clone(), z1, ..self.run_behind(relu1) }
    }

    /// What follows from `relu1`; the image and `z1` are left empty.
    fn run_behind(&self, relu1: Planes) -> Run {
        let [k, h, w] = relu1.shape;
        let mut pool = Planes::zeros([k, h / 2, w / 2]);
        for (c, y, x) in cells(pool.shape) {
            let (row, column) = first_greatest(&relu1, c, y, x);
            pool.add(c, y, x, relu1.at(c, row, column));
        }
        let z2 = self.two.forward(&pool);
        let layer = z2.map(|v| v.max(0.0));
        let scores = self.scores(&layer);
        let empty = Planes::zeros([0, 0, 0]);
        Run { x: empty.clone(), z1: empty, relu1, pool, z2, layer, scores }
    }

    fn scores(&self, layer: &Planes) -> Vec<f64> {
        let means: Vec<f64> = layer.channels().map(mean).collect();
        let [v, c] = &self.head;
        let score = |class: usize| c[class] + (0..6).map(|k| v[class * 6 + k] * means[k]).sum::<f64>();
        (0..4).map(score).collect()
    }

    /// The scores with another map for a layer.
    pub fn scores_behind(&self, layer: &str, map: Planes) -> Vec<f64> {
        if layer == "layer" { self.scores(&map) } else { self.run_behind(map).scores }
    }

    pub fn class_weights(&self, class: usize) -> &[f64] {
        &self.head[0][class * 6..][..6]
    }
}

pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The first greatest cell of a 2×2 window in scan order.
fn first_greatest(a: &Planes, c: usize, y: usize, x: usize) -> (usize, usize) {
    let window = [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(dy, dx)| (2 * y + dy, 2 * x + dx));
    window.into_iter().rev().max_by(|p, q| a.at(c, p.0, p.1).total_cmp(&a.at(c, q.0, q.1))).expect("four")
}

/// What is at the pools' chosen cells.
fn unpool(a: &Planes, signal: &Planes) -> Planes {
    let mut below = Planes::zeros(a.shape);
    for (c, y, x) in cells(signal.shape) {
        let (row, column) = first_greatest(a, c, y, x);
        below.add(c, row, column, signal.at(c, y, x));
    }
    below
}

impl Run {
    pub fn at(&self, layer: &str) -> &Planes {
        if layer == "layer" { &self.layer } else { &self.relu1 }
    }

    /// The signal of a class at `layer`, `relu1` or `image`.
    pub fn signal(&self, twin: &Twin, class: usize, place: &str, rule: Rule) -> Planes {
        let area = (self.layer.shape[1] * self.layer.shape[2]) as f64;
        let at_layer = self.layer.map(|_| 1.0 / area).weighed(twin.class_weights(class));
        if place == "layer" {
            return at_layer;
        }
        let at_relu1 = unpool(&self.relu1, &twin.two.back(&rule.back(&self.z2, &at_layer)));
        if place == "relu1" {
            return at_relu1;
        }
        twin.one.back(&rule.back(&self.z1, &at_relu1))
    }

    /// MWP, or c-MWP, summed over channels.
    pub fn excitation(&self, twin: &Twin, class: usize, place: &str, contrast: bool) -> Planes {
        let means: Vec<f64> = self.layer.channels().map(mean).collect();
        let shares = |sign: f64| -> Vec<f64> {
            let products = twin.class_weights(class).iter().zip(&means).map(|(w, m)| (sign * w).max(0.0) * m);
            let products: Vec<f64> = products.collect();
            let total: f64 = products.iter().sum();
            products.iter().map(|p| p / total).collect()
        };
        let mut top = shares(1.0);
        if contrast {
            top.iter_mut().zip(shares(-1.0)).for_each(|(p, dual)| *p -= dual);
        }
        let area = (self.layer.shape[1] * self.layer.shape[2]) as f64;
        let part: Vec<f64> =
            top.iter().zip(&means).map(|(p, m)| if *m > 0.0 { p / (m * area) } else { 0.0 }).collect();
        let at_layer = self.layer.weighed(&part);
        match place {
            "layer" => at_layer.sum(),
            _ => unpool(&self.relu1, &twin.two.share(&self.pool, &at_layer)).sum(),
        }
    }

    /// FullGrad's contributions: the image's, and those of both convolutions' biases.
    pub fn full_gradient(&self, twin: &Twin, class: usize) -> Planes {
        let at_relu1 = self.signal(twin, class, "relu1", Rule::Gradient);
        let at_layer = self.signal(twin, class, "layer", Rule::Gradient);
        let parts = [
            self.x.times(&self.signal(twin, class, "image", Rule::Gradient)),
            Rule::Gradient.back(&self.z1, &at_relu1).weighed(&twin.one.bias),
            Rule::Gradient.back(&self.z2, &at_layer).weighed(&twin.two.bias),
        ];
        let psi = |part: &Planes| {
            let part = part.map(f64::abs);
            let least = part.data.iter().copied().fold(f64::MAX, f64::min);
            let most = part.data.iter().copied().fold(f64::MIN, f64::max);
            part.map(|v| (v - least) / (most - least)).sum().enlarged([self.x.shape[1], self.x.shape[2]])
        };
        let [a, b, c] = parts.each_ref().map(psi);
        a.with(&b, |a, b| a + b).with(&c, |a, b| a + b)
    }
}
