//! Weights replaced by noise.

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use rand_distr::{Distribution, Normal};
use whycam_graph::weights::Weighted;
use whycam_graph::{DType, Graph, Tensor, ValueId};

use crate::error::Result;

/// The graph with noise for the weights of some nodes: normal, with the mean and standard deviation that each constant
/// had. It hangs on the seed and the constant alone.
pub(super) fn randomised(graph: &Graph, nodes: &[Weighted], seed: u64) -> Result<Graph> {
    let mut data = Vec::new();
    for &id in nodes.iter().flat_map(|node| &node.constants) {
        if let Some(tensor) = &graph.value(id).constant {
            data.push((id, noise(tensor, seed, id)?));
        }
    }
    Ok(graph.with_constants(data)?)
}

fn noise(tensor: &Tensor, seed: u64, id: ValueId) -> Result<Tensor> {
    let values = tensor.to_f64s();
    let count = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / count;
    let deviation = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / count).sqrt();
    let Ok(normal) = Normal::new(mean, deviation) else { return Ok(tensor.clone()) };
    let mut stream = ChaCha8Rng::seed_from_u64(seed);
    stream.set_stream(u64::from(id.number()));
    let drawn: Vec<f64> = values.iter().map(|_| normal.sample(&mut stream)).collect();
    of_type(tensor.dtype(), tensor.shape(), &drawn)
}

/// The numbers as elements of a type: floats rounded to it, whole numbers rounded and kept within its range.
fn of_type(dtype: DType, shape: &[usize], values: &[f64]) -> Result<Tensor> {
    let whole = |low: f64, high: f64| values.iter().map(move |v| v.round().clamp(low, high));
    let bytes: Vec<u8> = match dtype {
        DType::F32 | DType::F64 | DType::F16 | DType::Bf16 => {
            let values: Vec<f32> = values.iter().map(|&v| v as f32).collect();
            return Ok(Tensor::floats(dtype, shape, &values)?);
        }
        DType::I64 => {
            whole(i64::MIN as f64, i64::MAX as f64).flat_map(|v| (v as i64).to_le_bytes()).collect()
        }
        DType::U64 => whole(0.0, u64::MAX as f64).flat_map(|v| (v as u64).to_le_bytes()).collect(),
        DType::I32 => {
            whole(i32::MIN.into(), i32::MAX.into()).flat_map(|v| (v as i32).to_le_bytes()).collect()
        }
        DType::U32 => whole(0.0, u32::MAX.into()).flat_map(|v| (v as u32).to_le_bytes()).collect(),
        DType::I16 => {
            whole(i16::MIN.into(), i16::MAX.into()).flat_map(|v| (v as i16).to_le_bytes()).collect()
        }
        DType::U16 => whole(0.0, u16::MAX.into()).flat_map(|v| (v as u16).to_le_bytes()).collect(),
        DType::I8 => whole(i8::MIN.into(), i8::MAX.into()).map(|v| v as i8 as u8).collect(),
        DType::U8 => whole(0.0, u8::MAX.into()).map(|v| v as u8).collect(),
        DType::Bool => whole(0.0, 1.0).map(|v| v as u8).collect(),
    };
    Ok(Tensor::new(dtype, shape.to_vec(), bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_keeps_type_shape_mean_and_deviation_and_hangs_on_the_seed() {
        let graph = crate::Model::embedded().expect("embedded").graph().clone();
        let id = graph.values().find(|(_, v)| v.constant.is_some()).expect("a constant").0;
        for dtype in [DType::F32, DType::F16, DType::I8, DType::I32] {
            let values: Vec<f64> = (0..10_000).map(|i| f64::from(i % 41) - 15.0).collect();
            let tensor = of_type(dtype, &[100, 100], &values).expect("whole");
            let [a, again, other] = [7, 7, 8].map(|seed| noise(&tensor, seed, id).expect("drawn"));
            assert_eq!((a.dtype(), a.shape(), &a), (dtype, &[100, 100][..], &again));
            assert!(a != other && a != tensor);
            let told = |t: &Tensor| {
                let v = t.to_f64s();
                let mean = v.iter().sum::<f64>() / 1e4;
                (mean, (v.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 1e4).sqrt())
            };
            let ((mean, deviation), (noisy, spread)) = (told(&tensor), told(&a));
            // Five standard errors of 10,000 draws with a deviation of 11.8.
            assert!(
                (mean - noisy).abs() < 0.6 && (deviation - spread).abs() < 0.45,
                "{dtype}: {noisy} {spread}"
            );
        }
        let even = Tensor::f32(&[3], &[2.0; 3]).expect("whole");
        assert_eq!(noise(&even, 1, id).expect("drawn"), even, "what does not vary stays");
    }
}
