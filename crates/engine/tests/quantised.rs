//! Networks that onnxruntime's own tools quantised, against PyTorch autograd with roundings passed straight through.

mod common;

use std::path::Path;

use common::{arrays, engines, relative_l2};
use whycam_engine::load;
use whycam_graph::derive::{Classes, Formula, Recipe, Reduce, TARGET, derive};
use whycam_graph::diff::Rules;
use whycam_graph::engine::ModelBytes;
use whycam_graph::onnx::{ReadOptions, read};
use whycam_graph::{Tensor, layer};

/// float32 against float64: the inputs keep all roundings away from ties.
const TOLERANCE: f64 = 1e-4;

#[test]
fn quantised_networks_agree_with_pytorch() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/quantised");
    let (mut checked, mut wrong) = (0, Vec::new());
    let engines = engines();
    for net in ["plain", "mixed"] {
        let folder = root.join(net);
        let info = std::fs::read_to_string(folder.join("info.json")).expect("info.json");
        let info: serde_json::Value = serde_json::from_str(&info).expect("sound JSON");
        for (file, expected) in info["layer"].as_object().expect("a table") {
            checked += 1;
            let place = format!("{net}/{file}");
            let proto = std::fs::read(folder.join(format!("{file}.onnx"))).expect("readable").into();
            let bytes = ModelBytes { proto, ..ModelBytes::default() };
            let graph = read(&bytes, &ReadOptions::default()).expect(&place);
            let stored = arrays(&folder.join(format!("{file}.npz")));
            let image = layer::image_input(&graph).expect(&place);
            let score = layer::score(&graph, None).expect(&place);
            let layer = layer::automatic(&graph, image, &score).unwrap_or_else(|e| panic!("{place}: {e}"));
            if Some(graph.value(layer).name.as_str()) != expected.as_str() {
                wrong.push(format!("{place}: automatic layer {:?}, not {expected}", graph.value(layer).name));
            }
            let recipe =
                |read_at, reduce| Formula::Single(Recipe { read_at, rules: Rules::default(), reduce });
            let asked = [recipe(image, Reduce::SIGNAL), recipe(layer, Reduce::grad_cam(false))];
            let (k, n) = (stored["classes"].data.len(), stored["x"].shape[0]);
            let ranged = derive(&graph, image, &score, Classes { top: 0, given: k }, &asked)
                .and_then(|derived| derived.ranged())
                .unwrap_or_else(|e| panic!("{place}: {e}"));
            let target: Vec<i64> =
                (0..n).flat_map(|_| stored["classes"].data.iter().map(|&c| c as i64)).collect();
            let target = Tensor::i64(&[n, k], &target).expect("whole");
            let inputs = [("x", stored["x"].tensor()), (TARGET, target)];
            for engine in &engines {
                let place = format!("{place} in {}", engine.name());
                let program = load(engine.as_ref(), &ranged).unwrap_or_else(|e| panic!("{place}: {e}"));
                let outputs = program.run(&inputs).unwrap_or_else(|e| panic!("{place}: {e}"));
                for (what, i) in [("scores", 0), ("gradient", 2), ("grad_cam", 4)] {
                    let array = &stored[what];
                    // The reference has classes first, whycam images.
                    let size = array.data.len() / (k * n);
                    let cell = |i: usize, j: usize| array.data[(j * n + i) * size..][..size].to_vec();
                    let reference = match what {
                        "scores" => array.data.clone(),
                        _ => {
                            (0..n).flat_map(|i| (0..k).flat_map(|j| cell(i, j)).collect::<Vec<_>>()).collect()
                        }
                    };
                    let error = relative_l2(&outputs[i].to_f64s(), &reference);
                    if error.is_nan() || error > TOLERANCE {
                        wrong.push(format!("{place}: {what} differs by {error:.2e}"));
                    }
                }
            }
        }
    }
    assert_eq!(checked, 14, "files");
    assert!(wrong.is_empty(), "{} outputs:\n{}", wrong.len(), wrong.join("\n"));
}
