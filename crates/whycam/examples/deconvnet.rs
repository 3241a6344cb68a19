//! The deconvnet signal of the top class on a photo.
use whycam::{Model, Target, explain};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let model = Model::embedded()?;
    let image = model.open_image("examples/photos/chelsea.jpg")?;
    let map = explain(&model, &image, &Target::TOP1, &"deconvnet".parse()?)?;
    std::fs::write("chelsea.deconvnet.png", map.picture(&image)?)?;
    println!("{}: {} {:.3}", map.method, map.label, map.score);
    Ok(())
}
