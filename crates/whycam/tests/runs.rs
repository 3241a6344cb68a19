//! How often the network is run: as often for several classes as for one.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{Of, Small};
use whycam::engine::{EngineOptions, engine};
use whycam::graph::engine::ModelBytes;
use whycam::graph::{Engine, Program, Result, Tensor};
use whycam::method::Kind;
use whycam::{Explainer, METHODS, Method, Question, Target};

/// An engine that counts what is run.
struct Counting {
    inner: Box<dyn Engine>,
    runs: Arc<AtomicUsize>,
}

struct Counted {
    inner: Box<dyn Program>,
    runs: Arc<AtomicUsize>,
}

impl Engine for Counting {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn version(&self) -> String {
        self.inner.version()
    }

    fn load(&self, model: ModelBytes) -> Result<Box<dyn Program>> {
        Ok(Box::new(Counted { inner: self.inner.load(model)?, runs: Arc::clone(&self.runs) }))
    }
}

impl Program for Counted {
    fn run(&self, inputs: &[(&str, Tensor)]) -> Result<Vec<Tensor>> {
        self.runs.fetch_add(1, Ordering::Relaxed);
        self.inner.run(inputs)
    }
}

/// How many maps come of how many runs.
fn counted(methods: Vec<Method>, targets: Vec<Target>) -> [usize; 2] {
    let small = Small::new(Of::Convolutions, [3, 8, 8]);
    let runs = Arc::new(AtomicUsize::new(0));
    let inner = engine("rten", EngineOptions::default()).expect("always there");
    let counting = Counting { inner, runs: Arc::clone(&runs) };
    let question = Question { methods, targets, ..Question::default() };
    let explainer = Explainer::new(&small.model, &counting, &question).expect("explainable");
    assert_eq!(runs.load(Ordering::Relaxed), 0, "nothing is run before there is an image");
    let maps = explainer.explain(&small.image(1), &[]).expect("runs").maps.len();
    [maps, runs.load(Ordering::Relaxed)]
}

/// Occlusion may compute windows alone, whose number hangs on what was faster when both were timed.
fn is_timed(method: &Method) -> bool {
    method.info().name == "occlusion"
}

#[test]
fn several_classes_cost_the_runs_of_one() {
    let classes = || vec![Target::Top(2), Target::Index(0)];
    for info in METHODS {
        let method = Method::from(*info);
        if is_timed(&method) {
            continue;
        }
        let [one, several] =
            [vec![Target::TOP1], classes()].map(|targets| counted(vec![method.clone()], targets));
        assert!(one[0] == 1 && several[0] >= 3, "{method}: {} and {} maps", one[0], several[0]);
        assert_eq!(several[1], one[1], "{method}");
        if let Kind::Gradient(_) | Kind::Finished(..) = info.kind {
            assert_eq!(one[1], 1, "{method}");
        }
    }
}

#[test]
fn all_gradient_methods_share_a_run() {
    let methods: Vec<Method> =
        METHODS.iter().filter(|m| matches!(m.kind, Kind::Gradient(_))).map(|m| Method::from(*m)).collect();
    let count = methods.len();
    assert!(count > 10);
    assert_eq!(counted(methods, vec![Target::Top(4)]), [4 * count, 1]);
}
