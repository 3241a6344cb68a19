//! What speaks against a class.
use whycam::{Model, Target, explain};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let model = Model::embedded()?;
    let image = model.open_image("examples/photos/chelsea.jpg")?;
    let map = explain(&model, &image, &Target::class("tabby"), &"counterfactual".parse()?)?;
    std::fs::write("chelsea.counterfactual.png", map.picture(&image)?)?;
    println!("{} {:.3}, read at {}: {:?}", map.label, map.score, map.layer, map.verdict);
    Ok(())
}
