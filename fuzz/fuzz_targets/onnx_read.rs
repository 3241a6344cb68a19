//! Reads whatever comes; what can be read is written, and must read back the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use whycam_graph::engine::ModelBytes;
use whycam_graph::onnx::{ReadOptions, external_locations, read, write};

fuzz_target!(|data: &[u8]| {
    let mut model = ModelBytes { proto: data.to_vec().into(), ..ModelBytes::default() };
    for location in external_locations(&model.proto).unwrap_or_default() {
        model.external.insert(location, vec![0; 64].into());
    }
    let _ = read(&model, &ReadOptions { size: Some([5, 7]) });
    let Ok(graph) = read(&model, &ReadOptions::default()) else { return };
    let Ok(written) = write(&graph) else { return };
    match read(&written, &ReadOptions::default()) {
        Ok(again) => assert_eq!(again.to_string(), graph.to_string()),
        Err(error) => panic!("{error}\n{graph}"),
    }
});
