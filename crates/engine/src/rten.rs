//! rten: ONNX inference in pure Rust, always there.

use std::sync::Arc;

use rten::{DataType, Model, ModelOptions, NodeId, RunOptions, ThreadPool, Value, ValueOrView};
use rten_tensor::prelude::*;
use whycam_graph::engine::ModelBytes;
use whycam_graph::{DType, Engine, Error, Program, Result, Tensor};

use crate::{Device, EngineOptions, guarded, lanes};

pub(crate) const NAME: &str = "rten";

/// The rten engine. Its integers have 32 bits: int64 values outside that range are an error.
#[derive(Debug)]
pub struct Rten {
    threads: usize,
    pool: Arc<ThreadPool>,
}

impl Rten {
    /// An engine with a thread pool of its own.
    ///
    /// # Errors
    /// When another device than the processor is asked.
    pub fn new(options: EngineOptions) -> Result<Rten> {
        match options.device {
            Device::Cpu => {
                let threads = options.threads();
                Ok(Rten { threads, pool: Arc::new(ThreadPool::with_num_threads(threads)) })
            }
            device => Err(Error::Engine {
                engine: NAME,
                what: format!("it runs on the processor only, not on the device {device}"),
                hint: "take --engine ort, or leave out --device".into(),
            }),
        }
    }
}

impl Engine for Rten {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> String {
        "0.27".into()
    }

    fn load(&self, model: ModelBytes) -> Result<Box<dyn Program>> {
        Ok(Box::new(self.loaded(model)?))
    }

    /// The lanes share the weights.
    fn load_lanes(&self, model: ModelBytes) -> Result<Vec<Box<dyn Program>>> {
        let loaded = self.loaded(model)?;
        let lane = |threads| -> Box<dyn Program> {
            Box::new(Loaded { pool: Arc::new(ThreadPool::with_num_threads(threads)), ..loaded.clone() })
        };
        Ok(lanes::shares(self.threads).map(lane).collect())
    }
}

impl Rten {
    fn loaded(&self, model: ModelBytes) -> Result<Loaded> {
        let load = || {
            let mut options = ModelOptions::with_all_ops();
            for (location, bytes) in model.external {
                options.external_data(&location, bytes.into());
            }
            options.load(model.proto.into())
        };
        // Constants are folded while loading, which is work for the pool too.
        let model = guarded(|| self.pool.run(load))
            .map_err(|e| failed("loading", &e))?
            .map_err(|e| failed("loading", &e))?;
        let inputs = named(&model, model.input_ids())?;
        let outputs = model.output_ids().to_vec();
        Ok(Loaded {
            model: Arc::new(model),
            inputs: inputs.into(),
            outputs: outputs.into(),
            pool: self.pool.clone(),
        })
    }
}

fn named(model: &Model, ids: &[NodeId]) -> Result<Vec<Input>> {
    let about = |&id: &NodeId| {
        let info = model.node_info(id)?;
        Some(Input { name: info.name()?.to_owned(), id })
    };
    ids.iter().map(|id| about(id).ok_or_else(|| failed("loading", &"an input has no name"))).collect()
}

struct Input {
    name: String,
    id: NodeId,
}

#[derive(Clone)]
struct Loaded {
    model: Arc<Model>,
    inputs: Arc<[Input]>,
    outputs: Arc<[NodeId]>,
    pool: Arc<ThreadPool>,
}

impl Program for Loaded {
    fn run(&self, inputs: &[(&str, Tensor)]) -> Result<Vec<Tensor>> {
        let mut given: Vec<(NodeId, ValueOrView<'_>)> = Vec::new();
        for (name, tensor) in inputs {
            if let Some(input) = self.inputs.iter().find(|i| i.name == *name) {
                given.push((input.id, to_rten(tensor)?.into()));
            }
        }
        let mut options = RunOptions::default();
        options.thread_pool = Some(self.pool.clone());
        let results = guarded(|| self.model.run(given, &self.outputs, Some(options)));
        let results = results.map_err(|e| failed("running", &e))?;
        results.map_err(|e| failed("running", &e))?.into_iter().map(from_rten).collect()
    }
}

fn failed(doing: &str, what: &dyn std::fmt::Display) -> Error {
    Error::Engine {
        engine: NAME,
        what: format!("{doing} failed: {what}"),
        hint: "--engine ort has every operator and type of ONNX; or check the model with `whycam inspect`"
            .into(),
    }
}

fn to_rten(tensor: &Tensor) -> Result<Value> {
    let shape = tensor.shape();
    let ints = || {
        let wide = tensor.to_i64s().unwrap_or_default().into_iter();
        let narrow: std::result::Result<Vec<i32>, _> = wide.map(i32::try_from).collect();
        narrow.map_err(|_| failed("running", &"an integer does not fit 32 bits"))
    };
    match tensor.dtype() {
        DType::U8 => shaped(shape, tensor.data().to_vec()),
        DType::I8 => shaped(shape, tensor.data().iter().map(|&b| i8::from_le_bytes([b])).collect()),
        dtype if dtype.is_float() => shaped(shape, tensor.to_f32s()),
        _ => shaped(shape, ints()?),
    }
}

fn shaped<T>(shape: &[usize], values: Vec<T>) -> Result<Value>
where
    Value: From<rten_tensor::Tensor<T>>,
{
    let tensor = rten_tensor::Tensor::try_from_data(shape, values);
    tensor.map(Value::from).map_err(|e| failed("running", &e))
}

/// Results as tensors; rten's 32-bit integers stand for ONNX's int64 and bool.
fn from_rten(value: Value) -> Result<Tensor> {
    let shape: Vec<usize> = value.shape().to_vec();
    let no = || failed("running", &"a result has an unexpected type");
    match value.dtype() {
        rten::ValueType::Tensor(DataType::Float) => {
            let values = value.into_tensor::<f32>().ok_or_else(no)?;
            Tensor::f32(&shape, &values.to_vec())
        }
        rten::ValueType::Tensor(DataType::Int32) => {
            let values = value.into_tensor::<i32>().ok_or_else(no)?;
            Tensor::i64(&shape, &values.iter().map(|&v| v.into()).collect::<Vec<i64>>())
        }
        rten::ValueType::Tensor(DataType::UInt8) => {
            let values = value.into_tensor::<u8>().ok_or_else(no)?;
            Tensor::new(DType::U8, shape, values.to_vec())
        }
        rten::ValueType::Tensor(DataType::Int8) => {
            let values = value.into_tensor::<i8>().ok_or_else(no)?;
            let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            Tensor::new(DType::I8, shape, bytes)
        }
        _ => Err(no()),
    }
}
