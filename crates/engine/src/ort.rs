//! ONNX Runtime, from a library that is found on the machine.

mod library;
mod values;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use ::ort::ep::{self, ExecutionProvider};
use ::ort::session::builder::SessionBuilder;
use ::ort::session::{Session, SessionInputValue};
use ::ort::value::DynValue;
use whycam_graph::engine::ModelBytes;
use whycam_graph::{Engine, Error, Program, Result, Tensor, onnx};

use self::library::{Found, Runtime};
use self::values::{element, from_ort, lent, to_ort};
use crate::{Device, EngineOptions, guarded, lanes};

pub(crate) const NAME: &str = "ort";

/// The ONNX Runtime engine. The accelerators come from the library; without one for the device asked, it is an error,
/// never a silent fall-back.
#[derive(Debug)]
pub struct Ort {
    runtime: Runtime,
    options: EngineOptions,
    /// The weights of programs, which share them, by where they lie in memory, and how many bytes they are.
    weights: Mutex<HashMap<(usize, usize), Weak<DynValue>>>,
}

impl Ort {
    /// An engine on the library that `ORT_DYLIB_PATH` names, or that lies beside the program or in the active virtual
    /// environment.
    ///
    /// # Errors
    /// When none of these can be used, with all places that were tried, or it does not know the device.
    pub fn new(options: EngineOptions) -> Result<Ort> {
        match library::find(options.threads()) {
            Found::Runtime(runtime) => {
                available(&runtime, options.device)?;
                Ok(Ort { runtime, options, weights: Mutex::default() })
            }
            Found::Nothing { error, .. } => Err(error),
        }
    }

    /// The engine, or `None` where there is no library that can be used.
    ///
    /// # Errors
    /// When `ORT_DYLIB_PATH` names a library that cannot be used, or it does not know the device.
    pub fn find(options: EngineOptions) -> Result<Option<Ort>> {
        match library::find(options.threads()) {
            Found::Nothing { asked: false, .. } => Ok(None),
            _ => Ort::new(options).map(Some),
        }
    }

    /// A session for the model on so many threads. Where weights are quantised and nothing else is, ONNX Runtime is told to
    /// take their dequantising for arithmetic: it then computes float weights once, when it loads. Else it keeps it for
    /// integer kernels, which such a model never gets, and dequantises at every run.
    fn session(&self, model: &ModelBytes, threads: usize) -> std::result::Result<Loaded, String> {
        let told = |e: ::ort::Error<SessionBuilder>| e.to_string();
        let builder = Session::builder(&self.runtime.environment).map_err(|e| e.to_string())?;
        // Threads wait actively behind a run: each program's own would take the processor from the next one's, and are let
        // to sleep, from which it takes long to wake them.
        let mut builder = if threads == self.runtime.threads {
            builder
        } else {
            let builder = builder.with_independent_thread_pool().map_err(told)?;
            let builder = builder.with_intra_threads(threads).map_err(told)?;
            builder.with_config_entry("session.force_spinning_stop", "1").map_err(told)?
        };
        if let Some(provider) = provider(self.options.device) {
            builder = builder.with_execution_providers([provider.error_on_failure()]).map_err(told)?;
        }
        for (location, bytes) in &model.external {
            builder = match model.lent.get(location) {
                // ONNX Runtime plans with a copy of the one, and lets go of it where the other is there to run on.
                Some((name, constant)) => {
                    let weight = self.weight(constant)?;
                    let planned = builder.with_external_initializer(name, weight.clone()).map_err(told)?;
                    planned.with_initializer(name, weight)
                }
                None => builder.with_external_initializer_file_in_memory(location, Arc::from(&bytes[..])),
            }
            .map_err(told)?;
        }
        if !onnx::quantises(&model.proto) {
            builder = builder.with_config_entry("session.disable_quant_qdq", "1").map_err(told)?;
        }
        let session = builder.commit_from_memory(&model.proto).map_err(|e| e.to_string())?;
        let mut inputs: Vec<_> = session.inputs().iter().map(|input| input.name().to_owned()).collect();
        inputs.retain(|name| !model.fed.contains_key(name));
        let fed = |constant: &Tensor| match lent(constant) {
            Some(_) => Ok(Fed::Lent(constant.clone())),
            None => self.weight(constant).map(Fed::Copied),
        };
        let fed = model.fed.iter().map(|(name, constant)| Ok((name.clone(), fed(constant)?)));
        let fed = fed.collect::<std::result::Result<_, String>>()?;
        let constants = model.lent.values().map(|(_, constant)| constant).chain(model.fed.values());
        Ok(Loaded { session: Mutex::new(session), inputs, fed, _weights: constants.cloned().collect() })
    }

    fn program(&self, model: &ModelBytes, threads: usize) -> Result<Box<dyn Program>> {
        let loaded = guarded(|| self.session(model, threads)).and_then(|loaded| loaded);
        Ok(Box::new(loaded.map_err(|what| failed("loading", &what))?))
    }

    /// A constant as ONNX Runtime's: the one that another program has already, or a new one.
    fn weight(&self, constant: &Tensor) -> std::result::Result<Arc<DynValue>, String> {
        let data = constant.data();
        let place = (data.as_ptr() as usize, data.len());
        let mut weights = self.weights.lock().unwrap_or_else(PoisonError::into_inner);
        weights.retain(|_, weight| weight.strong_count() > 0);
        // The same bytes may be a constant of another shape or type too.
        let same = |weight: &Arc<DynValue>| {
            let shape: Vec<i64> = constant.shape().iter().map(|&d| d as i64).collect();
            let dtype = weight.dtype();
            dtype.tensor_shape().is_some_and(|s| **s == shape)
                && dtype.tensor_type() == Some(element(constant.dtype()))
        };
        if let Some(weight) = weights.get(&place).and_then(Weak::upgrade).filter(same) {
            return Ok(weight);
        }
        let weight = Arc::new(to_ort(constant)?);
        weights.insert(place, Arc::downgrade(&weight));
        Ok(weight)
    }
}

impl Engine for Ort {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> String {
        self.runtime.version.clone()
    }

    fn library(&self) -> Option<&Path> {
        Some(&self.runtime.path)
    }

    /// An accelerator would be sent the weights at every run.
    fn feeds(&self) -> bool {
        self.options.device == Device::Cpu
    }

    fn load(&self, model: ModelBytes) -> Result<Box<dyn Program>> {
        self.program(&model, self.options.threads())
    }

    /// An accelerator has no threads to share.
    fn load_lanes(&self, model: ModelBytes) -> Result<Vec<Box<dyn Program>>> {
        match self.options.device {
            Device::Cpu => {
                lanes::shares(self.options.threads()).map(|threads| self.program(&model, threads)).collect()
            }
            _ => Ok(vec![self.load(model)?]),
        }
    }
}

struct Loaded {
    /// ONNX Runtime's `Run` is not safe to call from several threads.
    session: Mutex<Session>,
    /// Those that callers give.
    inputs: Vec<String>,
    /// Those that are weights.
    fed: Vec<(String, Fed)>,
    /// Bytes that the session's weights were made of: while it has these weights, nothing else lies in that place.
    _weights: Vec<Tensor>,
}

/// A weight that is an input.
enum Fed {
    /// It is read where it lies.
    Lent(Tensor),
    /// Where it lies, it cannot be read.
    Copied(Arc<DynValue>),
}

impl Fed {
    fn input(&self) -> std::result::Result<SessionInputValue<'_>, String> {
        match self {
            Fed::Lent(tensor) => lent(tensor).map(Into::into).ok_or_else(|| "a weight has moved".into()),
            Fed::Copied(value) => Ok((&**value).into()),
        }
    }
}

impl Loaded {
    fn run(&self, inputs: &[(&str, Tensor)]) -> std::result::Result<Vec<Tensor>, String> {
        let mut given: Vec<(&str, SessionInputValue<'_>)> = Vec::new();
        for (name, weight) in &self.fed {
            given.push((name, weight.input()?));
        }
        for (name, tensor) in inputs.iter().filter(|(name, _)| self.inputs.iter().any(|i| i == name)) {
            given.push((*name, to_ort(tensor)?.into()));
        }
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let outputs = session.run(given).map_err(|e| e.to_string())?;
        outputs.values().map(|value| from_ort(&value)).collect()
    }
}

impl Program for Loaded {
    fn run(&self, inputs: &[(&str, Tensor)]) -> Result<Vec<Tensor>> {
        let results = guarded(|| self.run(inputs)).and_then(|results| results);
        results.map_err(|what| failed("running", &what))
    }
}

fn failed(doing: &str, what: &str) -> Error {
    Error::Engine {
        engine: NAME,
        what: format!("{doing} failed: {what}"),
        hint: "check that the model runs unchanged in ONNX Runtime, or try --engine rten".into(),
    }
}

/// What ONNX Runtime calls a device; nothing for the processor, which it always has.
fn provider(device: Device) -> Option<ep::ExecutionProviderDispatch> {
    match device {
        Device::Cpu => None,
        Device::Cuda => Some(ep::CUDA::default().build()),
        Device::TensorRt => Some(ep::TensorRT::default().build()),
        Device::CoreMl => Some(ep::CoreML::default().build()),
        Device::DirectMl => Some(ep::DirectML::default().build()),
    }
}

/// Whether the library was built for the device.
fn available(runtime: &Runtime, device: Device) -> Result<()> {
    let there = guarded(|| match device {
        Device::Cpu => Ok(true),
        Device::Cuda => ep::CUDA::is_available(),
        Device::TensorRt => ep::TensorRT::is_available(),
        Device::CoreMl => ep::CoreML::is_available(),
        Device::DirectMl => ep::DirectML::is_available(),
    });
    match there {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false)) => Err(Error::Engine {
            engine: NAME,
            what: format!(
                "the ONNX Runtime at {} was not built for the device {device}",
                runtime.path.display()
            ),
            hint: "install one that was (such as the package onnxruntime-gpu or onnxruntime-directml), or leave out \
                   --device"
                .into(),
        }),
        Ok(Err(error)) => Err(failed("looking for devices", &error.to_string())),
        Err(panic) => Err(failed("looking for devices", &panic)),
    }
}
