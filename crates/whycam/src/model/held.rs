//! Models whose sizes depend on the image, as they are for one image.

use whycam_graph::{Engine, Tensor, layer, onnx};

use super::{Image, ImageInput, Model};
use crate::error::Result;

impl Model {
    /// The model for one image: the integers that its sizes depend on, as the boxes that a detector keeps, are constants, as
    /// this image makes them, and its batch is one. `None` where every size is known without an image.
    ///
    /// # Errors
    /// When the engine cannot run the model on the image, or what is left cannot be read.
    pub fn held(
        &self,
        engine: &dyn Engine,
        image: &Image,
        further: &[(String, Tensor)],
    ) -> Result<Option<Model>> {
        let open = onnx::unsettled(&self.graph);
        if open.is_empty() || self.input.batch.is_some_and(|batch| batch != 1) {
            return Ok(None);
        }
        let part = self.graph.with_outputs(&open);
        let program = whycam_engine::load(engine, &part)?;
        let name = &self.graph.value(self.image).name;
        let mut inputs = vec![(name.as_str(), image.tensor.clone())];
        inputs.extend(further.iter().map(|(name, tensor)| (name.as_str(), tensor.clone())));
        let made = open.into_iter().zip(program.run(&inputs)?);
        let held: Vec<_> = made.filter(|(_, tensor)| !tensor.dtype().is_float()).collect();
        let graph = onnx::hold(&self.graph, &held)?;
        let output = self.output.map(|id| self.graph.value(id).name.as_str());
        let image = layer::image_input(&graph)?;
        Ok(Some(Model {
            image,
            input: ImageInput::of(&graph, image)?,
            output: output.map(|name| layer::output(&graph, name)).transpose()?,
            score: layer::score(&graph, output).ok(),
            graph,
            ..self.clone()
        }))
    }
}
