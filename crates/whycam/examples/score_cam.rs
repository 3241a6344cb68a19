//! Score-CAM of the likeliest class.
use whycam::{Model, Target, explain};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let model = Model::embedded()?;
    let image = model.open_image("examples/photos/chelsea.jpg")?;
    let map = explain(&model, &image, &Target::TOP1, &"score-cam".parse()?)?;
    std::fs::write("chelsea.score-cam.png", map.picture(&image)?)?;
    println!("{} {:.3}, read at {}: {:?}", map.label, map.score, map.layer, map.verdict);
    Ok(())
}
