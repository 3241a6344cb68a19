//! CAM of a class that is asked by name, for a network that ends in a global average and one linear layer.
use whycam::{Model, Target, explain};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let model = Model::embedded()?;
    let image = model.open_image("examples/photos/chelsea.jpg")?;
    let map = explain(&model, &image, &Target::class("tabby"), &"cam".parse()?)?;
    std::fs::write("chelsea.cam.png", map.picture(&image)?)?;
    println!("{} {:.3}, read at {}: {:?}", map.label, map.score, map.layer, map.verdict);
    Ok(())
}
