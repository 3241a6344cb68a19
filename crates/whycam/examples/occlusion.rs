//! Occlusion sensitivity: which patches of the photo the score needs.
use whycam::{Model, Target, explain};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let model = Model::embedded()?;
    let image = model.open_image("examples/photos/chelsea.jpg")?;
    let map = explain(&model, &image, &Target::TOP1, &"occlusion:size=45:stride=16".parse()?)?;
    std::fs::write("chelsea.occlusion.png", map.picture(&image)?)?;
    println!(
        "{} {:.3}: covering a patch changes its score by {:.2} to {:.2}",
        map.label, map.score, map.min, map.max
    );
    Ok(())
}
