//! Several cotangents at once equal single ones, and whole networks have the right gradient.

mod common;

use common::nets::{self, Images};
use common::{DIFFERENCES, Net, RELU_RULES, derived, prove_adjoint, prove_copies, prove_differences};
use whycam_graph::DType;

#[test]
fn copies_equal_single_runs() {
    for (name, make) in nets::ALL {
        for images in [(1, true), (3, true), (1, false), (3, false)] {
            let images = Images { count: images.0, symbolic: images.1 };
            let mut net = Net::new(5);
            let scores = make(&mut net, images);
            let (graph, given) = net.finish(scores);
            for rule in RELU_RULES {
                println!("{name} {images:?} {rule:?}");
                let sent = prove_copies(&graph, &given, scores, rule).remove(0);
                assert!(sent.data.iter().any(|v| *v != 0.0), "signal arrives");
            }
        }
    }
}

#[test]
fn whole_networks_have_the_right_gradient() {
    for (name, make) in nets::ALL {
        for images in [Images { count: 1, symbolic: false }, Images { count: 2, symbolic: true }] {
            println!("{name} {images:?}");
            let mut net = Net::new(6);
            let scores = make(&mut net, images);
            let (graph, given) = net.finish(scores);
            prove_differences(&graph, &given, scores, DIFFERENCES);
            prove_adjoint(&graph, &given, scores);
        }
    }
}

#[test]
fn derived_graphs_keep_the_element_type() {
    for dtype in [DType::F16, DType::Bf16, DType::F64] {
        for (name, make) in nets::ALL {
            let mut net = Net::new(7);
            net.dtype = dtype;
            let scores = make(&mut net, Images { count: 1, symbolic: true });
            let image = net.b.graph().find("image").unwrap();
            let (graph, _) = net.finish(scores);
            for rule in RELU_RULES {
                for copies in [None, Some(2)] {
                    // Building checks that operands have one type.
                    let derived = derived(&graph, scores, &[image], rule, copies).unwrap();
                    let signal = derived.value(derived.outputs()[0]);
                    assert_eq!(signal.dtype, Some(dtype), "{name} {rule:?}");
                }
            }
        }
    }
}
