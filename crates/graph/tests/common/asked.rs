//! Networks that are asked through `derive`.

use whycam_graph::derive::{Classes, Derived, Formula, Recipe, Reduce, TARGET, derive};
use whycam_graph::diff::{ReluRule, Rules};
use whycam_graph::layer;
use whycam_graph::op::Coordinates;
use whycam_graph::{Graph, Result, Tensor, ValueId};
use whycam_interp::Array;

use super::{Net, run_with};

pub const ONE: Classes = Classes { top: 0, given: 1 };

pub fn recipe(read_at: ValueId, relu: ReluRule, reduce: Reduce) -> Recipe {
    Recipe { read_at, rules: Rules { relu, ..Rules::default() }, reduce }
}

pub fn signal(read_at: ValueId, relu: ReluRule) -> Formula {
    Formula::Single(recipe(read_at, relu, Reduce::SIGNAL))
}

pub fn grad_cam(read_at: ValueId, relu: bool) -> Formula {
    Formula::Single(recipe(read_at, ReluRule::Gradient, Reduce::grad_cam(relu)))
}

pub fn guided_grad_cam(image: ValueId, layer: ValueId) -> Formula {
    Formula::Product {
        image: recipe(image, ReluRule::Guided, Reduce::SIGNAL),
        layer: recipe(layer, ReluRule::Gradient, Reduce::grad_cam(true)),
        enlarge: Coordinates::HalfPixel,
    }
}

/// A network and its numbers, ready to be asked.
pub struct Asked {
    pub graph: Graph,
    pub given: Vec<(String, Array)>,
}

impl Asked {
    pub fn new(net: Net, output: ValueId) -> Asked {
        let (graph, given) = net.finish(output);
        Asked { graph, given }
    }

    pub fn image(&self) -> ValueId {
        layer::image_input(&self.graph).unwrap()
    }

    pub fn derive(&self, classes: Classes, formulas: &[Formula]) -> Derived {
        self.try_derive(classes, formulas).unwrap_or_else(|e| panic!("{e}\n{}", self.graph))
    }

    fn try_derive(&self, classes: Classes, formulas: &[Formula]) -> Result<Derived> {
        let score = layer::score(&self.graph, None).unwrap();
        derive(&self.graph, self.image(), &score, classes, formulas)
    }

    pub fn images(&self) -> usize {
        self.given[0].1.shape[0]
    }

    /// Scores, classes, and then map and range of each formula, for these classes of every image.
    pub fn ask(&self, targets: &[usize], formulas: &[Formula]) -> Vec<Array> {
        self.try_ask(targets, formulas).unwrap_or_else(|e| panic!("{e}\n{}", self.graph))
    }

    /// As [`Asked::ask`], where it can be asked.
    pub fn try_ask(&self, targets: &[usize], formulas: &[Formula]) -> Result<Vec<Array>> {
        let derived = self.try_derive(Classes { top: 0, given: targets.len() }, formulas)?;
        let target = Array::from_fn(&[self.images(), targets.len()], |i| targets[i[1]] as f64);
        Ok(run_with(&derived.ranged()?, &self.given, &[(TARGET, &target)]))
    }

    /// The map of one formula for one class, `[N, …]`.
    pub fn map(&self, target: usize, formula: Formula) -> Array {
        let map = self.ask(&[target], &[formula]).swap_remove(2);
        assert_eq!(map.shape[1], 1);
        let shape = [&map.shape[..1], &map.shape[2..]].concat();
        map.reshape(&shape).unwrap()
    }

    pub fn value(&self, id: ValueId) -> Array {
        run_with(&self.graph.with_outputs(&[id]), &self.given, &[]).remove(0)
    }

    pub fn constant(&self, id: ValueId) -> Array {
        let tensor: &Tensor = self.graph.value(id).constant.as_ref().unwrap();
        Array::new(tensor.shape(), tensor.to_f64s())
    }
}

pub fn sum(values: &[f64]) -> f64 {
    values.iter().sum()
}
