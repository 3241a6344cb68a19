//! What computes: the processor, or an accelerator.

use std::fmt;
use std::str::FromStr;

use whycam_graph::Error;

/// What computes. All but the processor need an ONNX Runtime that was built for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// The processor.
    #[default]
    Cpu,
    /// NVIDIA's CUDA.
    Cuda,
    /// NVIDIA's TensorRT.
    TensorRt,
    /// Apple's Core ML.
    CoreMl,
    /// Microsoft's DirectML.
    DirectMl,
}

impl Device {
    /// Every device.
    pub const ALL: [Device; 5] =
        [Device::Cpu, Device::Cuda, Device::TensorRt, Device::CoreMl, Device::DirectMl];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Device::Cpu => "cpu",
            Device::Cuda => "cuda",
            Device::TensorRt => "tensorrt",
            Device::CoreMl => "coreml",
            Device::DirectMl => "directml",
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Device {
    type Err = Error;

    fn from_str(text: &str) -> Result<Device, Error> {
        Device::ALL.into_iter().find(|device| device.name() == text).ok_or_else(|| Error::Name {
            what: format!("there is no device {text:?}"),
            hint: format!("the devices are {}", Device::ALL.map(Device::name).join(", ")),
        })
    }
}
