//! Quantised values.

use whycam_graph::DType;

use crate::array::Array;

/// The parameter of the cell `index`: one for all, or one for each slice along `axis`.
fn parameter(p: &Array, axis: usize, index: &[usize]) -> f64 {
    if p.data.len() == 1 { p.data[0] } else { p.at(&[index[axis]]) }
}

fn fits(p: &Array, axis: usize, x: &Array) -> Result<(), String> {
    match p.data.len() == 1 || Some(p.shape.as_slice()) == x.shape.get(axis..=axis) {
        true => Ok(()),
        false => Err(format!("{:?} parameters do not lie along axis {axis} of {:?}", p.shape, x.shape)),
    }
}

pub(crate) fn dequantize(
    q: &Array,
    scale: &Array,
    zero_point: Option<&Array>,
    axis: usize,
) -> Result<Array, String> {
    let zero = Array::scalar(0.0);
    let zero_point = zero_point.unwrap_or(&zero);
    fits(scale, axis, q)?;
    fits(zero_point, axis, q)?;
    Ok(Array::from_fn(&q.shape, |i| (q.at(i) - parameter(zero_point, axis, i)) * parameter(scale, axis, i)))
}

pub(crate) fn quantize(
    x: &Array,
    scale: &Array,
    zero_point: Option<&Array>,
    axis: usize,
    to: DType,
) -> Result<Array, String> {
    let zero = Array::scalar(0.0);
    let zero_point = zero_point.unwrap_or(&zero);
    fits(scale, axis, x)?;
    fits(zero_point, axis, x)?;
    let (least, most) = range(to)?;
    Ok(Array::from_fn(&x.shape, |i| {
        let steps = (x.at(i) / parameter(scale, axis, i)).round_ties_even();
        (steps + parameter(zero_point, axis, i)).clamp(least, most)
    }))
}

fn range(to: DType) -> Result<(f64, f64), String> {
    Ok(match to {
        DType::I8 => (i8::MIN.into(), i8::MAX.into()),
        DType::U8 => (u8::MIN.into(), u8::MAX.into()),
        DType::I16 => (i16::MIN.into(), i16::MAX.into()),
        DType::U16 => (u16::MIN.into(), u16::MAX.into()),
        DType::I32 => (i32::MIN.into(), i32::MAX.into()),
        DType::U32 => (u32::MIN.into(), u32::MAX.into()),
        DType::F32 | DType::F64 | DType::F16 | DType::Bf16 | DType::I64 | DType::U64 | DType::Bool => {
            return Err(format!("values are not quantised to {to}"));
        }
    })
}
