//! Integrated gradients from the mean colour to the photo.
use whycam::{Model, Target, explain};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let model = Model::embedded()?;
    let image = model.open_image("examples/photos/chelsea.jpg")?;
    let map = explain(&model, &image, &Target::TOP1, &"integrated-gradients:steps=20".parse()?)?;
    std::fs::write("chelsea.integrated-gradients.png", map.picture(&image)?)?;
    println!("{} {:.3}, read at {}: {:?}", map.label, map.score, map.layer, map.verdict);
    Ok(())
}
