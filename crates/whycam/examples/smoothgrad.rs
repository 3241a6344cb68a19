//! SmoothGrad from twenty noisy copies.
use whycam::{Model, Target, explain};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let model = Model::embedded()?;
    let image = model.open_image("examples/photos/chelsea.jpg")?;
    let map = explain(&model, &image, &Target::TOP1, &"smoothgrad:samples=20".parse()?)?;
    std::fs::write("chelsea.smoothgrad.png", map.picture(&image)?)?;
    println!("{} {:.3}, read at {}: {:?}", map.label, map.score, map.layer, map.verdict);
    Ok(())
}
