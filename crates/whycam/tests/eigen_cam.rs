//! Eigen-CAM against pytorch-grad-cam's, up to the sign, which is anybody's choice there.

use std::path::PathBuf;

use npyz::npz::NpzArchive;
use whycam::{Model, Target, explain};

fn array(file: PathBuf, name: &str) -> (Vec<usize>, Vec<f32>) {
    let mut npz = NpzArchive::open(file).expect("readable");
    let npy = npz.by_name(name).expect("readable").expect("listed");
    (npy.shape().iter().map(|&d| d as usize).collect(), npy.into_vec().expect("float32"))
}

#[test]
fn centred_eigen_cam_is_that_of_pytorch_grad_cam() {
    for name in ["vgg16", "conv_transpose", "leaky_prelu", "max_pool"] {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../golden/nets").join(name);
        let model = Model::open(folder.join("legacy.onnx")).expect(name);
        let (shape, x) = array(folder.join("numbers.npz"), "x");
        let (cams, expected) = array(folder.join("cams.npz"), "eigen_cam_centred");
        let cells = cams[2] * cams[3];
        let method = "eigen-cam:centre=on".parse().expect("a method");
        for (row, image) in model.rows(&shape, &x).expect("fits").iter().enumerate() {
            let map = explain(&model, image, &Target::TOP1, &method).expect("runs");
            let expected = &expected[row * cells..][..cells];
            let dot: f32 = map.values.iter().zip(expected).map(|(a, b)| a * b).sum();
            let largest = expected.iter().fold(0.0f32, |most, v| most.max(v.abs()));
            for (a, b) in map.values.iter().zip(expected) {
                // float32 activations of two implementations
                assert!(
                    (a - b * dot.signum()).abs() < 1e-4 * largest,
                    "{name}: {:?}, {expected:?}",
                    map.values
                );
            }
        }
    }
}
