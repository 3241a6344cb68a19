//! The networks of `golden/nets`: files, and what PyTorch says of them.

#![allow(dead_code, reason = "every test uses a part of it")]

mod engines;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use whycam_graph::engine::ModelBytes;
use whycam_graph::onnx::{self, ReadOptions};
use whycam_graph::{Graph, Tensor};

pub use engines::engines;

/// One network, with the arrays of its `numbers.npz`, and of those in [`MORE`] that it has.
pub struct Net {
    pub name: String,
    pub folder: PathBuf,
    pub arrays: HashMap<String, Array>,
    pub info: serde_json::Value,
}

/// Files of arrays that some networks have.
const MORE: [&str; 2] = ["cams.npz", "excitation.npz"];

/// An array of any type as float64.
#[derive(Clone, Debug)]
pub struct Array {
    pub shape: Vec<usize>,
    pub data: Vec<f64>,
}

impl Array {
    pub fn tensor(&self) -> Tensor {
        let values: Vec<f32> = self.data.iter().map(|&v| v as f32).collect();
        Tensor::f32(&self.shape, &values).expect("the array is whole")
    }
}

/// Every network of `golden/nets`.
pub fn nets() -> Vec<Net> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/nets");
    let mut nets: Vec<Net> = fs::read_dir(&root)
        .expect("golden/nets is there")
        .map(|entry| entry.expect("readable").path())
        .filter(|folder| folder.join("numbers.npz").is_file())
        .map(net)
        .collect();
    nets.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(nets.len() >= 35, "{} networks", nets.len());
    nets
}

fn net(folder: PathBuf) -> Net {
    let info = fs::read_to_string(folder.join("info.json")).expect("info.json");
    let files = ["numbers.npz"].into_iter().chain(MORE).map(|name| folder.join(name));
    let arrays = files.filter(|file| file.is_file()).flat_map(|file| arrays(&file)).collect();
    Net {
        name: folder.file_name().expect("a name").to_string_lossy().into_owned(),
        info: serde_json::from_str(&info).expect("sound JSON"),
        arrays,
        folder,
    }
}

/// The arrays of a file.
pub fn arrays(file: &Path) -> HashMap<String, Array> {
    let mut npz = npyz::npz::NpzArchive::open(file).expect("readable");
    let names: Vec<String> = npz.array_names().map(str::to_owned).collect();
    let array = |name: String| {
        let npy = npz.by_name(&name).expect("readable").expect("listed");
        let shape = npy.shape().iter().map(|&d| d as usize).collect();
        let data = match npy.dtype().descr().as_str() {
            "'<f4'" => npy.into_vec::<f32>().expect("f32").into_iter().map(f64::from).collect(),
            "'<i4'" => npy.into_vec::<i32>().expect("i32").into_iter().map(f64::from).collect(),
            _ => npy.into_vec::<f64>().expect("f64"),
        };
        (name, Array { shape, data })
    };
    names.into_iter().map(array).collect()
}

impl Net {
    /// The array of that name.
    pub fn array(&self, name: &str) -> &Array {
        self.arrays.get(name).unwrap_or_else(|| panic!("{} has no array {name}", self.name))
    }

    /// The stems of its ONNX files.
    pub fn files(&self) -> Vec<String> {
        let mut files: Vec<String> = fs::read_dir(&self.folder)
            .expect("readable")
            .map(|e| e.expect("readable").path())
            .filter(|p| p.extension().is_some_and(|e| e == "onnx"))
            .map(|p| p.file_stem().expect("a stem").to_string_lossy().into_owned())
            .collect();
        files.sort();
        files
    }

    /// The bytes of one file, external data included.
    pub fn bytes(&self, file: &str) -> ModelBytes {
        let read = |name: &str| bytes::Bytes::from(fs::read(self.folder.join(name)).expect(name));
        let proto = read(&format!("{file}.onnx"));
        let locations = onnx::external_locations(&proto).expect("sound locations");
        ModelBytes {
            proto,
            external: locations.into_iter().map(|l| (l.clone(), read(&l))).collect(),
            ..ModelBytes::default()
        }
    }

    /// The graph of one file.
    pub fn graph(&self, file: &str) -> Graph {
        onnx::read(&self.bytes(file), &ReadOptions::default())
            .unwrap_or_else(|e| panic!("{}/{file}: {e}", self.name))
    }
}

/// `‖a − b‖ / ‖b‖`.
pub fn relative_l2(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let norm = |v: &mut dyn Iterator<Item = f64>| v.map(|x| x * x).sum::<f64>().sqrt();
    norm(&mut a.iter().zip(b).map(|(a, b)| a - b)) / norm(&mut b.iter().copied()).max(f64::MIN_POSITIVE)
}
