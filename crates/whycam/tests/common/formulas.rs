//! The slow twin of every method: its formula as the papers have it, on the slow twin of a network.

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, StandardNormal};
use whycam::image::{Align, Field, resample};

use super::twin::{Planes, Rule, Twin, cells, mean};

/// The map of a method `name:key=value…` by its formula.
pub fn map(twin: &Twin, method: &str, x: &Planes, class: usize, layer: &str) -> Planes {
    let (name, options) = method.split_once(':').unwrap_or((method, ""));
    let option = |key: &str| options.split(':').filter_map(|o| o.split_once('=')).find(|o| o.0 == key);
    let word = |key: &str| option(key).map_or("", |(_, value)| value);
    let number = |key: &str| word(key).parse::<f64>().unwrap_or_else(|_| panic!("{method}: {key}"));
    if word("smooth") == "on" {
        let plain = method.replace(":smooth=on", "");
        let copies = [0.9, 1.0, 1.1].into_iter().flat_map(|f| [(f, false), (f, true)]);
        let maps = copies.map(|(factor, mirror)| {
            let copy = x.map(|v| v * factor);
            let copy = if mirror { copy.mirrored() } else { copy };
            let map = map(twin, &plain, &copy, class, layer);
            if mirror { map.mirrored() } else { map }
        });
        return average(maps.collect());
    }
    let run = twin.run(x);
    let rectified = |map: Planes, default: &str| match option("relu").map_or(default, |(_, v)| v) {
        "on" => map.map(|v| v.max(0.0)),
        _ => map,
    };
    let image = |rule| run.signal(twin, class, "image", rule);
    let (a, g) = (run.at(layer), run.signal(twin, class, layer, Rule::Gradient));
    let per_channel = |f: &dyn Fn(&[f64], &[f64]) -> f64, g: &Planes| -> Vec<f64> {
        a.channels().zip(g.channels()).map(|(a, g)| f(a, g)).collect()
    };
    let grad_cam = |f: &dyn Fn(&[f64], &[f64]) -> f64, g: &Planes| a.weighed(&per_channel(f, g)).sum();
    match name {
        "grad-cam" | "counterfactual" => {
            let rule = match word("backward") {
                "deconvnet" => Rule::Deconvnet,
                "guided" => Rule::Guided,
                _ => Rule::Gradient,
            };
            let g = run.signal(twin, class, layer, rule);
            let g = if word("abs") == "on" { g.map(f64::abs) } else { g };
            let g = if name == "counterfactual" { g.map(|v| -v) } else { g };
            let pool: &dyn Fn(&[f64], &[f64]) -> f64 = match word("pool") {
                "sum" => &|_, g| g.iter().sum(),
                "max" => &|_, g| g.iter().copied().fold(f64::MIN, f64::max),
                _ => &|_, g| mean(g),
            };
            rectified(grad_cam(pool, &g), "on")
        }
        "cam" => rectified(run.layer.weighed(twin.class_weights(class)).sum(), "off"),
        "guided-grad-cam" => {
            let large = grad_cam(&|_, g| mean(g), &g).map(|v| v.max(0.0)).enlarged([x.shape[1], x.shape[2]]);
            let large = Planes::new(x.shape, large.data.repeat(3));
            image(Rule::Guided).times(&large)
        }
        "guided-backprop" => image(Rule::Guided),
        "gradient" => image(Rule::Gradient),
        "deconvnet" => image(Rule::Deconvnet),
        "gradient-x-input" => image(Rule::Gradient).times(x),
        "full-grad" => run.full_gradient(twin, class),
        "grad-cam++" => {
            let weight = |a: &[f64], g: &[f64]| {
                let total: f64 = a.iter().sum();
                g.iter().filter(|g| **g > 0.0).map(|g| g / (2.0 + g * total)).sum()
            };
            rectified(grad_cam(&weight, &g), "on")
        }
        "xgrad-cam" => {
            let weight = |a: &[f64], g: &[f64]| {
                let total: f64 = a.iter().sum();
                if total == 0.0 { 0.0 } else { a.iter().zip(g).map(|(a, g)| a * g).sum::<f64>() / total }
            };
            rectified(grad_cam(&weight, &g), "on")
        }
        "hires-cam" => rectified(g.times(a).sum(), "on"),
        "layer-cam" => rectified(g.map(|v| v.max(0.0)).times(a).sum(), "on"),
        "eigen-cam" => main_pattern(a, word("centre") == "on"),
        "mwp" => run.excitation(twin, class, layer, false),
        "c-mwp" => rectified(run.excitation(twin, class, layer, true), "on"),
        "ablation-cam" => {
            let area = a.shape[1] * a.shape[2];
            let fall = |k: usize| {
                let mut without = a.clone();
                without.data[k * area..][..area].fill(0.0);
                (run.scores[class] - twin.scores_behind(layer, without)[class]) / run.scores[class]
            };
            a.weighed(&(0..a.shape[0]).map(fall).collect::<Vec<_>>()).sum().map(|v| v.max(0.0))
        }
        "score-cam" => {
            let seen = |k: usize| {
                let area = a.shape[1] * a.shape[2];
                let channel = Planes::new([1, a.shape[1], a.shape[2]], a.data[k * area..][..area].to_vec());
                let mask = channel.enlarged([x.shape[1], x.shape[2]]);
                let least = mask.data.iter().copied().fold(f64::MAX, f64::min);
                let most = mask.data.iter().copied().fold(f64::MIN, f64::max);
                let mask = mask.map(|v| if most > least { (v - least) / (most - least) } else { 0.0 });
                twin.run(&x.times(&Planes::new(x.shape, mask.data.repeat(3)))).scores[class].exp()
            };
            let powers: Vec<f64> = (0..a.shape[0]).map(seen).collect();
            let total: f64 = powers.iter().sum();
            let weights: Vec<f64> = powers.iter().map(|p| p / total).collect();
            a.weighed(&weights).sum().map(|v| v.max(0.0))
        }
        "integrated-gradients" => {
            let (steps, from) = (number("steps"), baseline(x, word("baseline")));
            let point = |k: usize| x.with(&from, |x, from| from + (k as f64 + 0.5) / steps * (x - from));
            let signal = |k| twin.run(&point(k)).signal(twin, class, "image", Rule::Gradient);
            let mean = average((0..steps as usize).map(signal).collect());
            x.with(&from, |x, from| x - from).times(&mean)
        }
        "smoothgrad" => {
            let level = option("noise").map_or(0.15, |(_, v)| v.parse().expect("a number"));
            let least = x.data.iter().copied().fold(f64::MAX, f64::min);
            let range = x.data.iter().copied().fold(f64::MIN, f64::max) - least;
            let gradient = |index: usize| {
                let mut random = ChaCha8Rng::seed_from_u64(word("seed").parse().unwrap_or(0));
                random.set_stream(index as u64);
                let mut noisy = |v: &f64| {
                    let noise: f32 = StandardNormal.sample(&mut random);
                    v + level * range * f64::from(noise)
                };
                let data = x.data.iter().map(&mut noisy).collect();
                let g = twin.run(&Planes::new(x.shape, data)).signal(twin, class, "image", Rule::Gradient);
                if word("square") == "on" { g.times(&g) } else { g }
            };
            average((0..number("samples") as usize).map(gradient).collect())
        }
        "occlusion" => {
            let score = scored(word("score") == "probability", class);
            let (size, stride) = (number("size") as i64, number("stride") as usize);
            let cover = baseline(x, word("fill"));
            let change = |y: usize, left: usize| {
                let (from, to) = ((size - 1) / 2, size / 2);
                let is_near = |p: usize, q: usize| (-from..=to).contains(&(q as i64 - p as i64));
                let mut covered = x.clone();
                for (i, (_, row, column)) in cells(x.shape).enumerate() {
                    if is_near(y, row) && is_near(left, column) {
                        covered.data[i] = cover.data[i];
                    }
                }
                score(&twin.run(&covered).scores) - score(&run.scores)
            };
            let last = |side: usize| (side - 1) / stride * stride;
            let columns = last(x.shape[2]) / stride + 1;
            let centres = (0..=last(x.shape[1])).step_by(stride);
            let changes: Vec<f64> = centres
                .flat_map(|y| (0..columns).map(move |j| (y, j)))
                .map(|(y, j)| change(y, j * stride))
                .collect();
            let change = |y: usize, left: usize| changes[y / stride * columns + left / stride];
            let cell = |(_, y, x_): (usize, usize, usize)| {
                let around = |p: usize, side: usize| {
                    let first = p / stride * stride;
                    (first, (first + stride).min(last(side)), (p - first) as f64 / stride as f64)
                };
                let ((top, bottom, down), (left, right, along)) =
                    (around(y, x.shape[1]), around(x_, x.shape[2]));
                let row = |y| change(y, left) * (1.0 - along) + change(y, right) * along;
                row(top) * (1.0 - down) + row(bottom) * down
            };
            let shape = [1, x.shape[1], x.shape[2]];
            Planes::new(shape, cells(shape).map(cell).collect())
        }
        "rise" => {
            let score = scored(word("score") != "logit", class);
            let (side, count) = (word("cells").parse().unwrap_or(7_usize), number("masks") as usize);
            let keep = option("keep").map_or(0.5, |(_, v)| v.parse().expect("a number"));
            let term = |index: usize| {
                let mut random = ChaCha8Rng::seed_from_u64(word("seed").parse().unwrap_or(0));
                random.set_stream(index as u64);
                let mask = mask(&mut random, side, keep, [x.shape[1], x.shape[2]]);
                let seen = x.times(&Planes::new(x.shape, mask.data.repeat(3)));
                let score = score(&twin.run(&seen).scores);
                mask.map(|m| m * score / keep)
            };
            average((0..count).map(term).collect())
        }
        _ => panic!("{name} has no slow twin"),
    }
}

fn average(maps: Vec<Planes>) -> Planes {
    let count = maps.len() as f64;
    let sum = maps.into_iter().reduce(|a, b| a.with(&b, |a, b| a + b)).expect("one or more");
    sum.map(|v| v / count)
}

/// A class's score, or its probability by softmax.
fn scored(probability: bool, class: usize) -> impl Fn(&[f64]) -> f64 {
    move |scores| match probability {
        true => scores[class].exp() / scores.iter().map(|s| s.exp()).sum::<f64>(),
        false => scores[class],
    }
}

/// What stands for nothing, where photos are prepared by ImageNet's mean and deviation.
fn baseline(x: &Planes, word: &str) -> Planes {
    let (means, deviations) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
    let even =
        |level: &dyn Fn(usize) -> f64| Planes::new(x.shape, cells(x.shape).map(|(k, ..)| level(k)).collect());
    match word {
        "grey" => even(&|k| (0.5 - means[k]) / deviations[k]),
        "black" => even(&|k| -means[k] / deviations[k]),
        "image" => even(&|k| mean(x.channels().nth(k).expect("there"))),
        "blur" => {
            let [_, h, w] = x.shape;
            let deviation = h.min(w) as f64 / 20.0;
            let reach = (3.0 * deviation).ceil() as i64;
            let cell = |(k, y, left): (usize, usize, usize)| {
                let (mut sum, mut total) = (0.0, 0.0);
                for dy in -reach..=reach {
                    for dx in -reach..=reach {
                        let weight = (-((dy * dy + dx * dx) as f64) / (2.0 * deviation * deviation)).exp();
                        let inside = |p: usize, d: i64, side: usize| (p as i64 + d).clamp(0, side as i64 - 1);
                        let (row, column) = (inside(y, dy, h) as usize, inside(left, dx, w) as usize);
                        sum += weight * x.at(k, row, column);
                        total += weight;
                    }
                }
                sum / total
            };
            Planes::new(x.shape, cells(x.shape).map(cell).collect())
        }
        _ => even(&|_| 0.0),
    }
}

/// A mask of RISE; the enlargement is the library's own, which has tests of its own.
fn mask(random: &mut ChaCha8Rng, side: usize, keep: f64, [h, w]: [usize; 2]) -> Planes {
    let grid: Vec<f32> = (0..side * side).map(|_| if random.random_bool(keep) { 1.0 } else { 0.0 }).collect();
    let cell = [h.div_ceil(side), w.div_ceil(side)];
    let [high, wide] = cell.map(|length| length * (side + 1));
    let large = resample(Field::new(&grid, side, side).expect("a grid"), high, wide, Align::HalfPixel);
    let large = large.expect("enlarged");
    let [down, right] = cell.map(|length| random.random_range(0..length));
    let at = |(_, y, x): (usize, usize, usize)| f64::from(large[(y + down) * wide + x + right]);
    Planes::new([1, h, w], cells([1, h, w]).map(at).collect())
}

/// `A·v₁` by the power method on `AᵀA`, in the direction of the sum over channels.
fn main_pattern(a: &Planes, centre: bool) -> Planes {
    let channels: Vec<Vec<f64>> = a
        .channels()
        .map(|channel| {
            let middle = if centre { mean(channel) } else { 0.0 };
            channel.iter().map(|v| v - middle).collect()
        })
        .collect();
    let project = |v: &[f64]| -> Vec<f64> {
        let cell = |i: usize| channels.iter().zip(v).map(|(channel, v)| channel[i] * v).sum();
        (0..channels[0].len()).map(cell).collect()
    };
    let mut v: Vec<f64> = (0..channels.len()).map(|k| 1.0 + 0.1 * k as f64).collect();
    for _ in 0..500 {
        let map = project(&v);
        v = channels.iter().map(|channel| channel.iter().zip(&map).map(|(a, m)| a * m).sum()).collect();
        let norm = v.iter().map(|v| v * v).sum::<f64>().sqrt();
        v.iter_mut().for_each(|v| *v /= norm);
    }
    let map = project(&v);
    let brightness = |i: usize| channels.iter().map(|channel| channel[i]).sum::<f64>();
    let along: f64 = map.iter().enumerate().map(|(i, m)| m * brightness(i)).sum();
    Planes::new([1, a.shape[1], a.shape[2]], map.iter().map(|m| m * along.signum()).collect())
}
