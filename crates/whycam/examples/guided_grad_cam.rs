//! Guided Grad-CAM of the top class on a photo.
use whycam::{Model, Target, explain};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let model = Model::embedded()?;
    let image = model.open_image("examples/photos/chelsea.jpg")?;
    let map = explain(&model, &image, &Target::TOP1, &"guided-grad-cam".parse()?)?;
    std::fs::write("chelsea.guided-grad-cam.png", map.picture(&image)?)?;
    println!("{}: {} {:.3}", map.method, map.label, map.score);
    Ok(())
}
